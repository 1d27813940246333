"""A picture as the encoder takes it: size, pixel format, colour. The same one wherever possible."""

from __future__ import annotations

from typing import NamedTuple

import av
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from .outputs import VideoOutput

__all__ = ["Fitter", "Shape", "output_size"]

#: AVColorSpace to the number by which libswscale knows the same matrix.
_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
_UNSPECIFIED = 2
_BT601 = 6
_LIMITED = 1

#: What x264 takes as it is, and reads faster than a conversion would write.
_NATIVE = ("yuv420p", "yuvj420p", "nv12")


class Shape(NamedTuple):
    """What cannot change while an encoder is open."""

    width: int
    height: int
    full_range: bool
    matrix: int
    on_device: bool

    @classmethod
    def of(cls, picture: av.VideoFrame) -> Shape:
        """Pictures that leave range or matrix open count as limited-range BT.601, as converted."""
        matrix = picture.colorspace
        return cls(
            picture.width,
            picture.height,
            picture.color_range == 2 or picture.format.name.startswith("yuvj"),
            matrix if matrix in _MATRIX and matrix != 5 else _BT601,
            picture.format.name == "cuda",
        )


def output_size(output: VideoOutput, width: int, height: int) -> tuple[int, int]:
    """The even size at which a picture of ``width`` × ``height`` is encoded."""
    if output.width and output.height:
        return output.width, output.height
    if output.width:
        return output.width, max(2, round(height * output.width / width / 2) * 2)
    if output.height:
        return max(2, round(width * output.height / height / 2) * 2), output.height
    return max(2, width & ~1), max(2, height & ~1)


class Fitter:
    """Brings pictures to one size and pixel format, kept between frames for its scaler."""

    def __init__(self, first: av.VideoFrame, width: int, height: int) -> None:
        self.width, self.height = width, height
        name = first.sw_format.name if first.sw_format is not None else first.format.name
        odd = first.width % 2 or first.height % 2
        self.format = name if name in _NATIVE and not odd else "yuv420p"
        self.colour = _colour(first)
        self._scaler = VideoReformatter()

    def fit(self, picture: av.VideoFrame) -> av.VideoFrame:
        """``picture`` itself, or a converted copy of it."""
        if picture.format.name == "cuda":
            assert picture.sw_format is not None
            picture = self._scaler.reformat(picture, format=picture.sw_format.name)
        width, height = picture.width, picture.height
        crop = (width, height) != (self.width, self.height)
        if crop and (max(2, width & ~1), max(2, height & ~1)) != (self.width, self.height):
            width, height, crop = self.width, self.height, False
        if crop and (width < 2 or height < 2):
            width, height, crop = self.width, self.height, False
        if (width, height, self.format) != (picture.width, picture.height, picture.format.name):
            picture = self._convert(picture, width, height)
        return _cropped(picture, self.width, self.height) if crop else picture

    def _convert(self, picture: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
        matrix = _MATRIX.get(picture.colorspace)
        spread = picture.color_range or None
        if picture.format.is_rgb:
            matrix, spread = _MATRIX.get(self.colour[0], 5), self.colour[1] or _LIMITED
        return self._scaler.reformat(
            picture,
            width,
            height,
            self.format,
            dst_colorspace=matrix,
            dst_color_range=spread,
            threads=1,
        )


def _colour(picture: av.VideoFrame) -> tuple[int, int, int, int]:
    """Matrix, range, primaries, transfer to be written into the stream.

    What the source leaves open stays open; RGB is converted here, so its matrix is known.
    """
    matrix, spread = picture.colorspace, picture.color_range
    if picture.format.is_rgb:
        matrix = matrix if matrix in _MATRIX else _BT601
        spread = spread or _LIMITED
    return matrix, spread, picture.color_primaries, picture.color_trc


def _cropped(picture: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """The upper left of a planar 8-bit 4:2:0 picture, unscaled."""
    result = av.VideoFrame(width, height, picture.format.name)
    for source, target in zip(picture.planes, result.planes, strict=True):
        rows, columns = target.height, target.width
        np.copyto(_array(target, rows, columns), _array(source, rows, columns))
    return result


def _array(plane: VideoPlane, rows: int, columns: int) -> NDArray[np.uint8]:
    memory = memoryview(plane)
    return np.ndarray((rows, columns), np.uint8, memory, strides=(plane.line_size, 1))
