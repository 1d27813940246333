"""Between encoded sounds or clips and arrays, by PyAV; and pictures of arrays."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO, cast

import av
import numpy as np
import numpy.typing as npt

from livepeer.runner.exceptions import FileError

_ENCODERS = {"image/png": ("png", "rgb24"), "image/jpeg": ("mjpeg", "yuvj444p")}


def encode_image(pixels: npt.NDArray[np.uint8], format: str, media_type: str) -> bytes:
    if media_type not in _ENCODERS:
        known = ", ".join(_ENCODERS)
        raise ValueError(f"media_type is {media_type!r}: write one of {known}, or use from_pil()")
    codec, pixel_format = _ENCODERS[media_type]
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=format)
    encoder = cast(av.VideoCodecContext, av.CodecContext.create(codec, "w"))
    encoder.width, encoder.height = frame.width, frame.height
    encoder.pix_fmt = pixel_format
    encoder.time_base = Fraction(1, 1)
    packets = [*encoder.encode(frame.reformat(format=pixel_format)), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def encode_wav(samples: npt.NDArray[Any], rate: int) -> bytes:
    planar = np.atleast_2d(np.asarray(samples))
    if planar.dtype.kind == "f":
        planar = np.round(np.clip(np.nan_to_num(planar), -1.0, 1.0) * 32767.0)
    elif planar.dtype != np.int16:
        raise ValueError(f"samples are {planar.dtype}: give float in -1..1 or int16")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(planar.shape[0])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(planar.T.astype("<i2").tobytes())
    return buffer.getvalue()


def decode_frames(
    source: BinaryIO, *, video: bool, audio: bool, max_pixels: int | None = None
) -> Iterator[Any]:
    from livepeer.trickle.media import decode

    limit = {} if max_pixels is None else {"max_pixels": max_pixels}
    try:
        yield from decode(source, video=video, audio=audio, **limit)
    except (av.FFmpegError, ValueError) as error:
        raise FileError(f"the file cannot be decoded: {error}") from error


def decode_sound(source: BinaryIO, max_samples: int) -> tuple[npt.NDArray[np.float32], int]:
    """All of it at the rate and in the channels that it begins with."""
    parts: list[npt.NDArray[np.float32] | None] = []
    total = channels = rate = 0
    layout = ""
    for frame in decode_frames(source, video=False, audio=True):
        if not parts:
            channels, rate, layout = frame.channels, frame.rate, frame.layout
        if (frame.rate, frame.layout) != (rate, layout):
            frame = frame.resample(rate=rate, layout=layout)
        total += len(frame)
        if total * channels > max_samples:
            raise FileError(
                f"the sound has more than max_samples ({max_samples}) in {channels} channels at "
                f"{rate} Hz: send at most {max_samples // channels // rate} s"
            )
        parts.append(frame.samples)
    if not parts:
        raise FileError("the file holds no audio")
    joined = np.empty((channels, total), np.float32)
    at = 0
    for n, part in enumerate(parts):
        assert part is not None
        joined[:, at : at + part.shape[1]] = part
        at += part.shape[1]
        # Never the whole sound twice in memory.
        parts[n] = None
    return joined, rate
