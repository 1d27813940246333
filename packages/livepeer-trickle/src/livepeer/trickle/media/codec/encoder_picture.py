"""A picture as the encoder takes it: size, pixel format, colour. The same one wherever possible."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from livepeer.trickle.media.codec.outputs import VideoOutput
from livepeer.trickle.media.frame.pixels import SWSCALE_MATRIX
from livepeer.trickle.media.frame.video import SQUARE

_BT601 = 6
_LIMITED = 1

_NEARLY = Fraction(1, 100)
"""How far from square a pixel counts as square, and the largest number of a stream's pixel
shape."""
_FINEST = 1000

_NATIVE = ("yuv420p", "yuvj420p", "nv12")
"""What x264 takes as it is, and reads faster than a conversion would write."""


class Shape(NamedTuple):
    """What cannot change while an encoder is open."""

    width: int
    height: int
    full_range: bool
    matrix: int
    on_device: bool
    pixel: Fraction

    @classmethod
    def of(cls, picture: av.VideoFrame, pixel: Fraction) -> Shape:
        """Pictures that leave range or matrix open count as limited-range BT.601, as converted."""
        matrix = picture.colorspace
        return cls(
            picture.width,
            picture.height,
            picture.color_range == 2 or picture.format.name.startswith("yuvj"),
            matrix if matrix in SWSCALE_MATRIX and matrix != 5 else _BT601,
            picture.format.name == "cuda",
            _pixel(pixel) if pixel is not SQUARE else pixel,
        )


def _pixel(shape: Any) -> Fraction:
    """A pixel's shape as an author may have written it."""
    try:
        pixel: Fraction = Fraction(shape).limit_denominator(_FINEST)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        pixel = Fraction(0)
    if pixel <= 0:
        raise ValueError(f"sample_aspect_ratio {shape!r}: expected a pixel's width by its height")
    return pixel


def output_size(output: VideoOutput, width: int, height: int) -> tuple[int, int]:
    """The even size at which a picture of `width` × `height` is encoded."""
    if output.width and output.height:
        return output.width, output.height
    if output.width:
        return output.width, max(2, round(height * output.width / width / 2) * 2)
    if output.height:
        return max(2, round(width * output.height / height / 2) * 2), output.height
    return max(2, width & ~1), max(2, height & ~1)


def output_pixel(output: VideoOutput, shape: Shape) -> Fraction:
    """The shape of a pixel that is encoded: scaled by both measures, the picture keeps its own.

    A picture of square pixels is stretched into the size that was asked for, and they stay square.
    """
    pixel = shape.pixel
    if not (output.width and output.height) or pixel == 1:
        return pixel
    # What is odd loses its last column or row, and nothing is scaled for it.
    width, height = max(2, shape.width & ~1), max(2, shape.height & ~1)
    wide = pixel * Fraction(width * output.height, height * output.width)
    # A size that makes pixels square does so but for its rounding.
    return Fraction(1) if abs(wide - 1) < _NEARLY else wide.limit_denominator(_FINEST)


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
        """`picture` itself, or a converted copy of it."""
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
        matrix = SWSCALE_MATRIX.get(picture.colorspace)
        spread = picture.color_range or None
        if picture.format.is_rgb:
            matrix, spread = SWSCALE_MATRIX.get(self.colour[0], 5), self.colour[1] or _LIMITED
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
        matrix = matrix if matrix in SWSCALE_MATRIX else _BT601
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
