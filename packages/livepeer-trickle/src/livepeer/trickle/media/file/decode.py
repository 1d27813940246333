"""Frames of files, bytes and file objects, without a network and without an event loop."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO, cast

import av
from av.error import FFmpegError

from livepeer.trickle.media.codec.decoder import StreamDecoder
from livepeer.trickle.media.file.clock import FileClock
from livepeer.trickle.media.file.repeats import WithoutRepeats, is_transport_stream
from livepeer.trickle.media.file.track import FileTrack, PictureTrack, SoundTrack, too_large
from livepeer.trickle.media.frame import Frame, Item
from livepeer.trickle.media.frame.interleave import Interleaver
from livepeer.trickle.media.frame.pixels import MAX_PIXELS, allowance

_CHUNK = 64 * 1024
_HOLD = Fraction(1)
"""Seconds of media by which the tracks of a file may be apart and still come in order."""

_JUMPS = 0x200
"""AVFMT_TS_DISCONT of libavformat: the file is a stream that was kept, whose clock may jump."""

_LOOK = {"probesize": str(32 << 20), "analyzeduration": str(30_000_000)}
"""How far a transport stream is looked into for tracks that begin late, in bytes and
microseconds."""

_DISCARDED = ("attached_pic", "timed_thumbnails", "dependent")


def decode(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO,
    *,
    video: bool = True,
    audio: bool = True,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Frame]:
    """The frames of a media file, in presentation order: its first video and first audio track.

    `source`: a path, the file's bytes, or an open binary file, in any container that FFmpeg
    reads. Nothing else is opened: a playlist does not reach the network or other files.
    Pictures are turned upright as the file says. A picture without a time follows the one before
    it at the file's rate. Where the clock of a transport stream starts again, times go on. Broken
    parts are left out, pictures until the next keyframe. Cover pictures are not decoded.

    `max_pixels`: width times height of the largest picture that is decoded; a dozen of them may
    be in memory at once. By default 4096×2304.

    Raises `OSError` where the file cannot be opened, `ValueError` where no frame of a wanted
    track can be decoded or its pictures are too large, and `TypeError` for a source of another
    type; all at the first frame, or at the end where pictures became too large on the way.
    """
    if not (video or audio):
        raise ValueError("nothing to decode: video and audio are both left out")
    if isinstance(source, bytes | bytearray | memoryview):
        yield from _frames(io.BytesIO(source), "this data", video, audio, max_pixels)
    elif isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            yield from _frames(file, os.fspath(source), video, audio, max_pixels)
    else:
        yield from _frames(source, "this file", video, audio, max_pixels)


def _frames(file: Any, name: str, video: bool, audio: bool, max_pixels: int) -> Iterator[Frame]:
    head = file.read(_CHUNK) if hasattr(file, "read") else None
    if not isinstance(head, bytes):
        kind = type(file).__name__
        raise TypeError(f"a source is a path, bytes or a file opened with 'rb', not {kind}")
    if is_transport_stream(head):
        frames = _transport_stream(file, head, name, video, audio, max_pixels)
    else:
        if file.seekable():
            file.seek(-len(head), os.SEEK_CUR)
        else:
            file = io.BytesIO(head + file.read())
        frames = _container(file, None, name, video, audio, max_pixels)
    empty = True
    for frame in frames:
        empty = False
        yield frame
    if empty:
        wanted = " or ".join(kind for kind, on in (("video", video), ("audio", audio)) if on)
        raise ValueError(f"{name} holds no {wanted} that can be decoded")


def _transport_stream(
    file: Any, head: bytes, name: str, video: bool, audio: bool, max_pixels: int
) -> Iterator[Frame]:
    """By our own demuxer: PyAV gives no track that begins on the way, or changes its codec there.
    What that has nothing of, libavformat may know."""
    begin = file.tell() - len(head) if file.seekable() else None
    decoder = StreamDecoder(
        video="decode" if video else "drop",
        audio="decode" if audio else "drop",
        max_pixels=max_pixels,
    )
    # Of a track that was announced nothing may have come yet: here it can be waited for.
    order = Interleaver(_HOLD)
    wanted = {kind for kind, on in (("video", video), ("audio", audio)) if on}
    empty, chunk = True, head
    while chunk:
        made = decoder.feed(chunk)
        tracks = sum(track.kind in wanted for track in decoder.tracks)
        for frame in order.add(made, tracks=tracks):
            empty = False
            yield cast("Frame", frame)
        chunk = file.read(_CHUNK)
    large = decoder.too_large
    for frame in [*order.add(decoder.flush(), tracks=0), *order.flush()]:
        empty = False
        yield cast("Frame", frame)
    if large is not None:
        raise too_large(*large, max_pixels)
    if empty and begin is not None:
        file.seek(begin)
        whole = WithoutRepeats(b"", file)
        yield from _container(whole, "mpegts", name, video, audio, max_pixels)


def _container(
    file: Any, format: str | None, name: str, video: bool, audio: bool, max_pixels: int
) -> Iterator[Frame]:
    try:
        # An empty whitelist: what a playlist names is never opened.
        container = av.open(
            file,
            "r",
            format,
            container_options={"protocol_whitelist": "", **(_LOOK if format else {})},
            options={"max_pixels": allowance(max_pixels)},
        )
    except FFmpegError as error:
        # Without the number and the name that FFmpeg puts around it.
        why = error.strerror or error
        raise ValueError(f"{name} is not a media file that can be decoded: {why}") from error
    with container:
        pictures = _wanted(container.streams.video)[:video]
        sounds = _wanted(container.streams.audio)[:audio]
        shown = [PictureTrack(stream, max_pixels) for stream in pictures]
        tracks: dict[int, FileTrack] = {
            **dict(zip([stream.index for stream in pictures], shown, strict=True)),
            **{stream.index: SoundTrack(stream) for stream in sounds},
        }
        order = Interleaver(_HOLD)
        clock = FileClock() if container.format.flags & _JUMPS else None
        packets = container.demux(*pictures, *sounds) if tracks else iter(())
        while True:
            try:
                packet = next(packets, None)
            except (FFmpegError, IndexError):
                # The file is broken off here; or PyAV 18.1 is at the end of one that began a track
                # later than it was looked into, and trips over that.
                break
            if packet is None:
                break
            if clock is not None:
                clock.place(packet)
            made = cast("list[Item]", tracks[packet.stream.index].push(packet))
            yield from cast("list[Frame]", order.add(made, tracks=len(tracks)))
            for track in shown:
                track.check_size()
        for track in shown:
            track.check_size(0)
        rest = [frame for track in tracks.values() for frame in track.flush()]
        yield from cast("list[Frame]", order.add(list(rest), tracks=len(tracks)))
        yield from cast("list[Frame]", order.flush())


def _wanted(streams: Any) -> list[Any]:
    """Those that FFmpeg has a decoder for (it knows SVG by name, for one, but cannot draw it), and
    that are no cover or tile."""
    return [
        stream
        for stream in streams
        if stream.codec_context is not None
        and not any(kind in _DISCARDED for kind in _kinds(stream))
    ]


def _kinds(stream: Any) -> list[str]:
    return [kind.name for kind in type(stream.disposition) if kind & stream.disposition]
