"""The pixels of PyAV's pictures: conversion, planes as arrays, arrays as pictures.

Imports neither av nor numpy before the first picture.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray

    Picture = av.VideoFrame
    Plane = NDArray[np.uint8]


PLANAR = ("yuv420p", "yuvj420p")
"""8-bit 4:2:0 in three planes; the second is the same memory with full-range values."""

MAX_PIXELS = 4096 * 2304
"""The largest picture of H.264 up to level 5.2, which is 4K and a little: a decoder keeps a
dozen, and a header of a few bytes may ask for them."""

_PACKED = {"rgb24": 3, "bgr24": 3, "rgba": 4, "bgra": 4, "argb": 4, "abgr": 4, "gray": 0}
"""Packed formats that an array can be given in, and their channels (0: the array is (H, W))."""

_local = threading.local()


def allowance(max_pixels: int) -> str:
    """FFmpeg's option `max_pixels`, which counts the margins of its buffers in and so gets more."""
    return str(max_pixels + max_pixels // 4 + (1 << 16))


def _reformat(picture: Picture, **to: Any) -> Picture:
    """Convert with a context of this thread: making one for each frame costs more than the work."""
    from av.video.reformatter import VideoReformatter

    reformatter = getattr(_local, "reformatter", None)
    if reformatter is None:
        reformatter = _local.reformatter = VideoReformatter()
    converted: Picture = reformatter.reformat(picture, threads=1, **to)
    return converted


SWSCALE_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
"""AVColorSpace to the number by which libswscale knows the same matrix."""


def converted(picture: Picture, format: str) -> Picture:
    """The picture in `format`, which may be the picture itself."""
    name = picture.format.name
    if name == format:
        return picture
    if format in PLANAR:
        matrix, spread = picture.colorspace, picture.color_range
        converted = _reformat(
            picture,
            format=format,
            dst_colorspace=SWSCALE_MATRIX.get(matrix),
            dst_color_range=spread or None,
        )
        converted.colorspace, converted.color_range = matrix, spread
        return converted
    return _reformat(picture, format=format)


def plane_arrays(picture: Picture) -> tuple[Plane, Plane, Plane]:
    import numpy as np

    y, u, v = (
        np.ndarray((p.height, p.width), np.uint8, cast("bytes", p), strides=(p.line_size, 1))
        for p in picture.planes
    )
    return y, u, v


def writable_copy(picture: Picture) -> Picture:
    """Our own 8-bit 4:2:0 copy. Never in place: a view of the old memory may still be around."""
    import numpy as np

    if picture.format.name not in PLANAR:
        return converted(picture, "yuv420p")
    from av import VideoFrame as NewPicture

    copy = NewPicture(picture.width, picture.height, picture.format.name)
    for target, source in zip(plane_arrays(copy), plane_arrays(picture), strict=True):
        np.copyto(target, source)
    copy_colours(picture, copy)
    return copy


def copy_colours(source: Picture, target: Picture) -> None:
    """What the numbers of a picture mean: matrix, range, transfer, primaries."""
    for name in ("colorspace", "color_range", "color_trc", "color_primaries"):
        setattr(target, name, getattr(source, name))


def picture_from(array: NDArray[Any], format: str, like: Picture | None = None) -> Picture:
    import numpy as np
    from av import VideoFrame as NewPicture

    array = _as_array(array)
    if array.dtype != np.uint8:
        raise TypeError(
            f"a picture has to be uint8, not {array.dtype}: "
            "scale values to 0..255, round, and convert with astype(numpy.uint8)"
        )
    if format in _PACKED:
        channels = _PACKED[format]
        if array.ndim != (3 if channels else 2) or (channels and array.shape[2] != channels):
            wanted = f"(height, width, {channels})" if channels else "(height, width)"
            raise ValueError(f"{format} needs an array of shape {wanted}, not {array.shape}")
    if 0 in array.shape:
        raise ValueError(f"a picture cannot be empty, as this array of shape {array.shape} is")
    try:
        picture = NewPicture.from_ndarray(np.ascontiguousarray(array), format=format)
    except ValueError as error:
        raise ValueError(
            f"no picture of format {format!r} can be made of an array of shape {array.shape}: "
            f"{error}. Formats are {', '.join(_PACKED)}, "
            "or a planar one as PyAV stacks it (yuv420p, nv12: (height * 3 / 2, width), even sizes)"
        ) from error
    if like is not None:
        copy_colours(like, picture)
    return picture


def array_of(picture: Picture, format: str) -> NDArray[Any]:
    """The pixels in `format`, in memory of their own."""
    try:
        array: NDArray[Any] = converted(picture, format).to_ndarray()
    except ValueError as error:
        raise ValueError(
            f"no array of format {format!r} can be made of this picture: {error}. "
            f"Formats are {', '.join(_PACKED)}, or a planar one as PyAV stacks it (yuv420p, nv12)"
        ) from error
    # PyAV hands out a view of the picture where no row is padded.
    return array if array.flags.owndata and array.flags.writeable else array.copy()


def array_and_format(picture: Any, format: str | None) -> tuple[NDArray[Any], str]:
    """An array in channels-last order, and its format by its shape where none is named."""
    array = _as_array(picture)
    if format is not None and format not in _PACKED:
        return array, format
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if format is not None:
        return array, format
    if array.ndim == 2:
        return array, "gray"
    if array.ndim == 3 and array.shape[2] in (3, 4):
        return array, "rgb24" if array.shape[2] == 3 else "rgba"
    raise ValueError(
        f"an array of shape {array.shape} is no picture: "
        "give (height, width, 3), (3, height, width), (height, width, 4) or (height, width)"
    )


def _as_array(picture: Any) -> NDArray[Any]:
    import numpy as np

    array = np.asarray(picture)
    if array.dtype.kind in "OSU":
        raise TypeError(f"a picture has to be an array, not {type(picture).__name__}")
    return array
