"""Between encoded pictures, Pillow's and arrays. Imported with the first picture."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageOps

from livepeer.runner.author.file_content import brands
from livepeer.runner.exceptions import FileError

# What a picture may be. Pillow also knows formats that run programs (EPS), and some (ICO) whose
# header tells another size than what is decoded.
_FORMATS = (
    *("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP"),
    *("DIB", "MPO"),
)
_WRITTEN = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/avif": "AVIF",
    "image/gif": "GIF",
    "image/tiff": "TIFF",
    "image/bmp": "BMP",
}
_HEIF = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"})
_AVIF = frozenset({b"avif", b"avis"})
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_ORDERS = {"rgb24": ("RGB", 1), "bgr24": ("RGB", -1), "gray": ("L", 0), "rgba": ("RGBA", 1)}


def open_picture(data: bytes, max_pixels: int) -> PIL.Image.Image:
    """The first picture, upright. Raises `FileError`."""
    try:
        picture = _opened(data, max_pixels)
        picture.load()
        return PIL.ImageOps.exif_transpose(picture)
    except FileError:
        raise
    except Exception as error:  # whatever Pillow meets in what is broken
        raise FileError(f"the image cannot be decoded: {_reason(error)}") from error


def _opened(data: bytes, max_pixels: int) -> PIL.Image.Image:
    found = brands(data)
    if found & _HEIF and not found & _AVIF:
        return _heif(data, max_pixels)
    picture = PIL.Image.open(io.BytesIO(data), formats=_FORMATS)
    _check(picture.size, max_pixels)
    return picture


def _heif(data: bytes, max_pixels: int) -> PIL.Image.Image:
    try:
        import pillow_heif  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise FileError(
            "the image is HEIC, which is read with the extra 'heif': "
            "pip install 'livepeer-runner[heif]'"
        ) from error
    file = pillow_heif.open_heif(io.BytesIO(data))
    main = file[file.primary_index]
    _check(main.size, max_pixels)
    # libheif has put its tiles together and turned it.
    picture: PIL.Image.Image = main.to_pillow()
    return picture


def _check(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise FileError(
            f"the image is {size[0]}x{size[1]}, and max_pixels is {max_pixels}: send a smaller one"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, PIL.UnidentifiedImageError):
        return "it is in no format that is known"
    return str(error) or type(error).__name__


def pixels_of(picture: PIL.Image.Image, format: str) -> npt.NDArray[np.uint8]:
    """`(height, width, 3)`, `(height, width, 4)` or `(height, width)`, uint8, by `format`.

    Raises `FileError` where the picture is transparent in part and `format` has no alpha.
    """
    picture = _eight_bits(picture)
    if format not in _ORDERS:
        return _by_pyav(picture, format)
    mode, step = _ORDERS[format]
    if mode != "RGBA" and _is_transparent(picture):
        raise FileError(
            f"the image is transparent in part, which {format} cannot hold: send one without "
            "alpha (or take it with to_ndarray('rgba') or to_pil())"
        )
    try:
        array = np.array(picture.convert(mode), dtype=np.uint8)
    except ValueError as error:
        raise FileError(f"the image is of mode {picture.mode}, which has no {mode}") from error
    return array if step >= 0 else np.ascontiguousarray(array[:, :, ::-1])


def _eight_bits(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Pillow cuts off what is above 255 where it converts grey of more bits."""
    if picture.mode.startswith("I;16"):
        values = np.asarray(picture)
    elif picture.mode == "I":
        values = np.asarray(picture)
        if values.min(initial=0) < 0 or values.max(initial=0) > 0xFFFF:
            raise FileError("the image has more than 16 bits a pixel, which no range is told of")
    elif picture.mode == "F":
        raise FileError("the image is of floats, which no range is told of: send 8 or 16 bits")
    else:
        return picture
    return PIL.Image.fromarray((values >> 8).astype(np.uint8))


def _is_transparent(picture: PIL.Image.Image) -> bool:
    if picture.mode not in _ALPHA and "transparency" not in picture.info:
        return False
    lowest = picture.convert("RGBA").getchannel("A").getextrema()[0]
    return bool(lowest != 255)


def _by_pyav(picture: PIL.Image.Image, format: str) -> npt.NDArray[np.uint8]:
    """Any other layout by its name in PyAV (`bgra`, `yuv420p`)."""
    import av

    alpha = _is_transparent(picture)
    mode = "RGBA" if alpha or format in ("bgra", "argb", "abgr") else "RGB"
    array = np.array(picture.convert(mode), dtype=np.uint8)
    if alpha and format not in ("bgra", "argb", "abgr"):
        raise FileError(f"the image is transparent in part, which {format} cannot hold")
    frame = av.VideoFrame.from_ndarray(array, format="rgba" if mode == "RGBA" else "rgb24")
    return np.asarray(frame.to_ndarray(format=format))


def encode(picture: PIL.Image.Image, media_type: str) -> bytes:
    """The picture in a file, upright. Raises `ValueError` for what the format cannot hold."""
    name = _WRITTEN.get("image/jpeg" if media_type == "image/jpg" else media_type)
    if name is None:
        raise ValueError(f"media_type is {media_type!r}: write one of {', '.join(_WRITTEN)}")
    picture = PIL.ImageOps.exif_transpose(picture)
    if name == "JPEG" and _is_transparent(picture):
        raise ValueError("a JPEG holds no alpha: give picture.convert('RGB'), or image/png")
    plain: dict[str, Any] = {"PNG": ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")}
    if name == "JPEG" and picture.mode not in ("L", "RGB", "CMYK"):
        picture = picture.convert("RGB")
    elif picture.mode not in plain.get(name, ("L", "RGB", "RGBA")) and name != "TIFF":
        picture = picture.convert("RGBA" if picture.mode in _ALPHA else "RGB")
    buffer = io.BytesIO()
    try:
        picture.save(buffer, format=name)
    except (OSError, ValueError) as error:
        raise ValueError(f"the picture cannot be written as {media_type}: {error}") from error
    return buffer.getvalue()
