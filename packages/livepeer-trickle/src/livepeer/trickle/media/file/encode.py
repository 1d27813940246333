"""Frames into a file or bytes, without a network: `encode`."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import tempfile
import wave
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, BinaryIO

import av
import numpy as np

from livepeer.trickle.media.codec.encoder import SegmentEncoder
from livepeer.trickle.media.codec.encoder_picture import output_size
from livepeer.trickle.media.codec.outputs import AudioOutput, VideoOutput
from livepeer.trickle.media.file.endings import CONTAINERS
from livepeer.trickle.media.frame import AudioFrame, Item, MediaPacket, VideoFrame

Items = Iterable[Item]

_NO_FILE = 1
"""AVFMT_NOFILE of libavformat: the muxer opens by itself what it writes."""

_IN_MEMORY = 64 << 20
"""Another container is written from a transport stream, kept on disk when larger than this."""


def encode(
    frames: Items,
    target: str | os.PathLike[str] | BinaryIO | None = None,
    *,
    video: VideoOutput | None = VideoOutput(),  # noqa: B008 — frozen
    audio: AudioOutput | None = AudioOutput(),  # noqa: B008 — frozen
    format: str | None = None,
) -> bytes | None:
    """Encode `frames` into `target` (a path or a binary file), or return the bytes.

    `format`: `"mpegts"`, exactly as a publisher sends it, or a container by FFmpeg's name
    (`"mp4"`, `"matroska"`). Such a file has one picture size, that of the first picture, into
    which later ones are scaled; its clock begins where the container's begins. By default a path
    that ends in `.mp4`, `.mov`, `.mkv` or the like becomes that, all else MPEG-TS. `"wav"`
    (`.wav`) is the sound alone, in 16-bit samples.
    `video` or `audio` of `None` leaves that track out. A frame without a time follows the one
    before it; one that is not later than the one before it is left out, as in a stream. An existing
    file is replaced once all is written: frames may be read from it meanwhile.

    Raises `ValueError` where no frame is left to encode, or the format is unknown or cannot hold
    the tracks, `TypeError` for anything but frames, and `EncoderUnavailable` where a codec does
    not open.
    """
    path = os.fspath(target) if isinstance(target, str | os.PathLike) else None
    if format is None:
        ending = os.path.splitext(path)[1].lower() if path is not None else ""
        format = CONTAINERS.get(ending, "mpegts")
    if format == "wav":
        return _store_wav(frames, target)
    if format == "mpegts":
        return _store(_transport_stream(frames, SegmentEncoder(video, audio)), target)
    if format not in av.formats_available or not av.ContainerFormat(format, "w").is_output:
        raise ValueError(f"format {format!r}: no such container; try 'mpegts', 'mp4' or 'matroska'")
    by_itself = av.ContainerFormat(format, "w").flags & _NO_FILE
    if path is None and by_itself:
        # It would ignore the target and leave files in the working directory.
        raise ValueError(f"format {format!r} writes files of its own: give a path")
    if video is not None:
        frames, video = _of_one_size(frames, video)
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as stream:
        encoder = SegmentEncoder(video, audio)
        stream.writelines(_transport_stream(frames, encoder))
        # A track that began late has to be known when the header is written.
        stream.seek(0)
        stream.write(encoder.tables)
        stream.seek(0)
        if target is None:
            result = io.BytesIO()
            _rewrap(stream, result, format)
            return result.getvalue()
        place = contextlib.nullcontext(path or target)
        with place if path is None or by_itself else _beside(path) as to:
            _rewrap(stream, to, format)
    return None


def _transport_stream(frames: Items, encoder: SegmentEncoder) -> Iterator[bytes]:
    for frame in frames:
        for piece in encoder.encode(frame):
            yield piece.data
    for piece in encoder.flush():
        yield piece.data
    if not encoder.stats.encoded:
        raise ValueError("no frame of a wanted track was given: there is nothing to encode")


def _store(
    parts: Iterator[bytes], target: str | os.PathLike[str] | BinaryIO | None
) -> bytes | None:
    if target is None:
        return b"".join(parts)
    if isinstance(target, str | os.PathLike):
        with _beside(os.fspath(target)) as part, open(part, "wb") as file:
            file.writelines(parts)
    else:
        target.writelines(parts)
    return None


def _store_wav(frames: Items, target: str | os.PathLike[str] | BinaryIO | None) -> bytes | None:
    if isinstance(target, str | os.PathLike):
        with _beside(os.fspath(target)) as part, open(part, "wb") as file:
            _write_wav(frames, file)
        return None
    whole = io.BytesIO()  # its head is written last, and not every target can go back
    _write_wav(frames, whole)
    if target is None:
        return whole.getvalue()
    target.write(whole.getbuffer())
    return None


def _write_wav(frames: Iterable[Item], target: BinaryIO) -> None:
    """Write the sound among `frames` to a binary file that can seek, one frame behind the other.

    Rate and layout are those of the first; later frames are resampled into them. Pictures are left
    out. Raises `ValueError` where no sound came, or came undecoded.
    """
    out: wave.Wave_write | None = None
    first: AudioFrame | None = None
    try:
        for frame in frames:
            if isinstance(frame, MediaPacket):
                raise ValueError("wav holds decoded sound, and a packet is not decoded")
            if not isinstance(frame, AudioFrame):
                continue
            if out is None or first is None:
                first, out = frame, wave.open(target, "wb")
                out.setparams((len(frame.samples), 2, frame.rate, 0, "NONE", ""))
            elif (frame.rate, frame.layout) != (first.rate, first.layout):
                frame = frame.resample(rate=first.rate, layout=first.layout)
            whole = np.clip(np.rint(np.nan_to_num(frame.samples.T) * 32767.0), -32768, 32767)
            out.writeframesraw(whole.astype("<i2").tobytes())
        if out is None:
            raise ValueError("no sound was given: there is nothing to encode")
    finally:
        if out is not None:
            out.close()


@contextlib.contextmanager
def _beside(path: str) -> Iterator[str]:
    """Where to write what takes the place of `path` once it is whole: frames may be read from
    there meanwhile, and what fails changes nothing."""
    target = os.path.realpath(path)
    exists = os.path.exists(target)
    if exists and not os.path.isfile(target):
        yield path  # a pipe, a device: nothing can take its place
        return
    folder, name = os.path.split(target)
    # A name of its own: others may be writing the same file. No mkstemp, which lets nobody else
    # read it.
    part = os.path.join(folder, f".{name[:100]}.{secrets.token_hex(8)}.part")
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if exists else 0o666))
    try:
        yield part
        if exists:
            shutil.copymode(target, part)
        os.replace(part, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def _of_one_size(frames: Items, video: VideoOutput) -> tuple[Items, VideoOutput]:
    """The same frames, and an output that keeps to the size of the first picture."""
    rest = iter(frames)
    seen: list[Item] = []
    for frame in rest:
        seen.append(frame)
        if isinstance(frame, VideoFrame):
            width, height = output_size(video, frame.width, frame.height)
            if width >= 16 <= height:
                video = replace(video, width=width, height=height)
            break
    return chain(seen, rest), video


def _rewrap(stream: Any, target: Any, format: str) -> None:
    """Copy packets into another container; nothing is encoded again."""
    look = {"probesize": str(1 << 30), "analyzeduration": str(10**9)}
    with (
        av.open(stream, "r", format="mpegts", options=look) as source,
        av.open(target, "w", format=format) as sink,
    ):
        try:
            tracks = {
                track.index: sink.add_stream_from_template(track)
                for track in (*source.streams.video, *source.streams.audio)
            }
            sink.start_encoding()
        except (av.ArgumentError, NotImplementedError, ValueError) as error:
            raise ValueError(f"{format} cannot hold these tracks: {error}") from error
        for packet in source.demux():
            if packet.dts is not None and packet.stream_index in tracks:
                packet.stream = tracks[packet.stream_index]
                sink.mux(packet)
