"""Between encoded pictures or sounds and arrays, by PyAV, numpy and Pillow."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import av
import numpy as np
import numpy.typing as npt

from livepeer.runner.exceptions import FileError

if TYPE_CHECKING:
    import PIL.Image

# What an image may be. FFmpeg also knows playlists, which name other files and URLs to open.
_IMAGE_FORMATS = (
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif,gif_pipe,apng,jpegxl_pipe,j2k_pipe,"
    "qoi_pipe,ppm_pipe,pgm_pipe,pam_pipe,ico,mov,mp4,m4a"
)
_IMAGE_OPTIONS = {"format_whitelist": _IMAGE_FORMATS, "protocol_whitelist": ""}
_ENCODERS = {"image/png": ("png", "rgb24"), "image/jpeg": ("mjpeg", "yuvj444p")}


def pillow_image(data: bytes) -> PIL.Image.Image:
    try:
        import PIL.Image
    except ImportError as error:
        raise ImportError("Image.to_pil() needs Pillow: pip install pillow") from error
    try:
        picture = PIL.Image.open(io.BytesIO(data))
        picture.load()
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise FileError(f"the image cannot be decoded: {error}") from error
    return picture


def decode_image(data: bytes, format: str) -> npt.NDArray[np.uint8]:
    try:
        with av.open(io.BytesIO(data), "r", container_options=_IMAGE_OPTIONS) as container:
            picture = next(container.decode(video=0)).to_ndarray(format=format)
    except (av.FFmpegError, StopIteration, IndexError) as error:
        reason = str(error) or "there is no picture in it"
        raise FileError(f"the image cannot be decoded: {reason}") from error
    return cast("npt.NDArray[np.uint8]", picture)


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


def decode_frames(source: BinaryIO, *, video: bool, audio: bool) -> Iterator[Any]:
    from livepeer.trickle.media import decode

    try:
        yield from decode(source, video=video, audio=audio)
    except (av.FFmpegError, ValueError) as error:
        raise FileError(f"the file cannot be decoded: {error}") from error
