"""Frames of files, bytes and file objects, without a network and without an event loop."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, BinaryIO, cast

from .clock import MPEG_TIME_BASE, SampleClock
from .decoder import StreamDecoder
from .frames import AudioFrame, Frame, MediaPacket, VideoFrame
from .interleave import Interleaver
from .limits import MAX_PIXELS

__all__ = ["decode"]

_CHUNK = 64 * 1024
#: Seconds of media by which the tracks of a file may be apart and still come in order.
_HOLD = Fraction(1)


def decode(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO,
    *,
    video: bool = True,
    audio: bool = True,
) -> Iterator[Frame]:
    """The frames of a media file, in presentation order: its first video and first audio track.

    ``source``: a path, the file's bytes, or an open binary file, in any container that FFmpeg
    reads. Nothing else is opened: a playlist does not reach the network or other files.
    Broken parts are left out, as in a live stream.

    Raises ``OSError`` where the file cannot be opened, ``ValueError`` where no frame of a wanted
    track can be decoded, and ``TypeError`` for what is no source; all at the first frame. Pictures
    of more than 8192×4608 are refused.
    """
    if not (video or audio):
        raise ValueError("nothing to decode: video and audio are both left out")
    if isinstance(source, bytes | bytearray | memoryview):
        yield from _frames(io.BytesIO(source), "this data", video, audio)
    elif isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            yield from _frames(file, os.fspath(source), video, audio)
    else:
        yield from _frames(source, "this file", video, audio)


def _frames(file: Any, name: str, video: bool, audio: bool) -> Iterator[Frame]:
    head = file.read(_CHUNK) if hasattr(file, "read") else None
    if not isinstance(head, bytes):
        kind = type(file).__name__
        raise TypeError(f"a source is a path, bytes or a file opened with 'rb', not {kind}")
    if len(head) > 188 and head[0] == head[188] == 0x47:
        frames = _transport_stream(file, head, video, audio)
    else:
        if file.seekable():
            file.seek(-len(head), os.SEEK_CUR)
        else:
            file = io.BytesIO(head + file.read())
        frames = _container(file, name, video, audio)
    empty = True
    for frame in frames:
        empty = False
        yield frame
    if empty:
        wanted = " or ".join(kind for kind, on in (("video", video), ("audio", audio)) if on)
        raise ValueError(f"{name} holds no {wanted or 'wanted track'} that can be decoded")


def _transport_stream(file: BinaryIO, head: bytes, video: bool, audio: bool) -> Iterator[Frame]:
    decoder = StreamDecoder(
        video="decode" if video else "drop", audio="decode" if audio else "drop", max_hold=_HOLD
    )
    chunk = head
    while chunk:
        yield from cast("list[Frame]", decoder.feed(chunk))
        chunk = file.read(_CHUNK)
    yield from cast("list[Frame]", decoder.flush())


def _container(file: BinaryIO, name: str, video: bool, audio: bool) -> Iterator[Frame]:
    import av
    from av.error import FFmpegError

    try:
        # An empty whitelist: what a playlist names is never opened.
        container = av.open(
            file,
            "r",
            container_options={"protocol_whitelist": ""},
            options={"max_pixels": str(MAX_PIXELS)},
        )
    except FFmpegError as error:
        # Without the number and the name that FFmpeg puts around it.
        why = error.strerror or error
        raise ValueError(f"{name} is not a media file that can be decoded: {why}") from error
    with container:
        streams: list[Any] = [
            *_decodable(container.streams.video)[:video],
            *_decodable(container.streams.audio)[:audio],
        ]
        for stream in streams:
            stream.thread_type = "AUTO"
            if stream.type == "video":
                options = stream.codec_context.options
                stream.codec_context.options = options | {"max_pixels": str(MAX_PIXELS)}
        order = Interleaver(_HOLD)
        clock = SampleClock()
        packets = container.demux(streams) if streams else iter(())
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError:
                # The file is broken off here.
                break
            if packet is None:
                break
            try:
                frames = packet.decode()
            except FFmpegError:
                # One broken packet: the next one is read from behind it.
                continue
            made: list[Frame | MediaPacket] = [_wrap(frame, clock) for frame in frames]
            yield from cast("list[Frame]", order.add(made, tracks=len(streams)))
        yield from cast("list[Frame]", order.flush())


def _decodable(streams: Iterable[Any]) -> list[Any]:
    """Those that FFmpeg has a decoder for (it knows SVG by name, for one, but cannot draw it)."""
    return [stream for stream in streams if stream.codec_context is not None]


def _wrap(frame: Any, clock: SampleClock) -> Frame:
    import av

    if isinstance(frame, av.VideoFrame):
        return VideoFrame(
            frame,
            pts=0 if frame.pts is None else frame.pts,
            time_base=frame.time_base or MPEG_TIME_BASE,
            key_frame=bool(frame.key_frame),
        )
    told = None if frame.pts is None else frame.pts * frame.time_base
    pts, base = clock.place(told, frame.samples, frame.sample_rate)
    return AudioFrame(
        None,
        rate=frame.sample_rate,
        layout=frame.layout.name,
        pts=pts,
        time_base=base,
        source=frame,
    )
