"""Files in and out of `predict`: `File`, `Image`, `Audio`, `Video`.

A caller sends a file as base64, as a `data:` URI, as an `http(s)` URL, or as a part of a multipart
form; `predict` gets an object with `.data` and `.media_type`. A returned file is the whole answer,
with its own content type, or a `data:` URI where it stands inside a JSON value.

    def predict(self, photo: Image, width: int = 512) -> Image:
        pixels = photo.to_ndarray()               # (height, width, 3) uint8, RGB
        return Image.from_ndarray(pixels[:, :width])

Pillow, numpy and PyAV are imported when one of the conversions is called, never before.
"""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Self
from urllib.parse import urlsplit

from pydantic_core import core_schema

from livepeer.runner.author.file_content import (
    GENERIC,
    PATTERN,
    content_of,
    is_url,
    media_type_of,
    suffix,
)
from livepeer.runner.exceptions import FileError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import PIL.Image
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

    from livepeer.trickle.media import AudioFrame, VideoFrame

MAX_PIXELS = 1 << 26
"""Default limit of a picture's width times height: 67 million pixels."""
MAX_SAMPLES = 1 << 27
"""Default limit of a sound that is decoded at once: samples of all channels, 0.5 GB."""


class File:
    """Bytes and their media type.

    `File(data, media_type)` makes one for output; `data` may be bytes, a `data:` URI (as a file
    within a JSON answer is), or a path, which is read at once. Without `media_type` the first bytes
    decide, else it is `application/octet-stream`. `.data` are its bytes, `.media_type` and `.name`
    (which may be None) what they are called.
    """

    family: ClassVar[str | None] = None
    """The first half of the media types that this class takes; None takes all."""

    def __init__(
        self,
        data: bytes | bytearray | memoryview | str | os.PathLike[str],
        media_type: str | None = None,
        *,
        name: str | None = None,
    ) -> None:
        if isinstance(data, str) and data.startswith("data:"):
            data, declared = content_of(data)
            media_type = media_type or declared
        elif isinstance(data, str | os.PathLike):
            path = Path(data)
            name = name or path.name
            data = path.read_bytes()
        self.url: str | None = None
        self.name = name
        self._temporary: Path | None = None
        self.fill(bytes(data), media_type)

    def fill(self, data: bytes, media_type: str | None) -> None:
        """Take the bytes, and the most precise media type that declaration and content allow.

        Raises `FileError` where that does not fit the class (a sound given as an image).
        """
        self.media_type = media_type_of(data, media_type, self.family)
        self._data: bytes | None = data

    @classmethod
    def _from_url(cls, url: str) -> Self:
        file = cls.__new__(cls)
        file.url = url
        file.name = Path(urlsplit(url).path).name or None
        file.media_type = GENERIC
        file._data = None
        file._temporary = None
        return file

    @property
    def data(self) -> bytes:
        """The content; a file that a caller gave as a URL is fetched before `predict` runs."""
        if self._data is None:
            raise FileError(f"{self.url} is not fetched yet: that happens before `predict` runs")
        return self._data

    @property
    def is_fetched(self) -> bool:
        """False only for a URL whose content has not been fetched."""
        return self._data is not None

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    def open(self) -> BinaryIO:
        """A readable, seekable binary file of the content."""
        return io.BytesIO(self.data)

    def path(self) -> Path:
        """A temporary file with the content, for libraries that insist on one.

        It is removed together with this object: copy what has to stay.
        """
        if self._temporary is None:
            ending = suffix(self.media_type, self.name)
            with tempfile.NamedTemporaryFile(
                prefix="livepeer-", suffix=ending, delete=False
            ) as file:
                path = Path(file.name)
                weakref.finalize(self, path.unlink, missing_ok=True)
                file.write(self.data)
            self._temporary = path
        return self._temporary

    def data_uri(self) -> str:
        """The content as text, `data:image/png;base64,...`; `File` takes it back."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"

    def __repr__(self) -> str:
        what = self.url if self._data is None else f"{len(self._data)} bytes, {self.media_type}"
        return f"{type(self).__name__}({what})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, File):
            return NotImplemented
        return (self.url, self._data, self.media_type) == (other.url, other._data, other.media_type)

    __hash__ = None  # type: ignore[assignment]  # its content may still be fetched

    @classmethod
    def _validate(cls, value: object) -> Self:
        """From JSON text, a part of a form, or an object that a pipeline returned."""
        try:
            if isinstance(value, cls):
                return value
            if isinstance(value, File):
                return cls(value.data, value.media_type, name=value.name)
            if isinstance(value, str):
                return cls._from_url(value) if is_url(value) else cls(*content_of(value))
            if isinstance(value, bytes | bytearray | memoryview | os.PathLike):
                return cls(value)
        except (FileError, OSError) as error:
            raise ValueError(str(error)) from error
        raise ValueError(f"{cls.__name__} is given as base64, a data: URI, or an http(s) URL")

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        from_json = core_schema.no_info_after_validator_function(
            cls._validate, core_schema.str_schema(strict=True)
        )
        return core_schema.json_or_python_schema(
            json_schema=from_json,
            python_schema=core_schema.no_info_plain_validator_function(cls._validate),
            serialization=core_schema.plain_serializer_function_ser_schema(
                cls.data_uri, when_used="json"
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "type": "string",
            "format": "file",
            "contentEncoding": "base64",
            "contentMediaType": f"{cls.family}/*" if cls.family else GENERIC,
            **({"pattern": PATTERN} if handler.mode == "validation" else {}),
        }


class Image(File):
    """A picture: PNG, JPEG, WebP, AVIF, GIF, TIFF, BMP, JPEG 2000, QOI, PPM.

    HEIC as well, with the extra `heif`. What is decoded is upright, whichever way the camera was
    held, and of an animation its first picture.
    """

    family = "image"

    def to_pil(self, *, max_pixels: int = MAX_PIXELS) -> PIL.Image.Image:
        """The picture as Pillow has it, alpha included.

        Raises `FileError` where it cannot be decoded, or its width times height is over
        `max_pixels`: the caller of `predict` is answered 422.
        """
        from livepeer.runner.author import pictures

        return pictures.open_picture(self.data, max_pixels)

    def to_ndarray(
        self, format: str = "rgb24", *, max_pixels: int = MAX_PIXELS
    ) -> npt.NDArray[np.uint8]:
        """Pixels, uint8: `(height, width, 3)` for `rgb24` and `bgr24`, `(height, width, 4)` for
        `rgba`, `(height, width)` for `gray`; grey of 16 bits comes as its upper eight.

        Raises `FileError` as `to_pil` does, and where the picture is transparent in part and
        `format` holds no alpha.
        """
        from livepeer.runner.author import pictures

        return pictures.pixels_of(pictures.open_picture(self.data, max_pixels), format)

    @classmethod
    def from_ndarray(
        cls, pixels: npt.NDArray[np.uint8], format: str = "rgb24", media_type: str = "image/png"
    ) -> Self:
        """Encode `(height, width, 3)` uint8 pixels as `image/png` or `image/jpeg`."""
        from livepeer.runner.author import media_codecs

        return cls(media_codecs.encode_image(pixels, format, media_type), media_type)

    @classmethod
    def from_pil(cls, picture: PIL.Image.Image, media_type: str = "image/png") -> Self:
        """Encode a Pillow picture, upright: as `image/png`, `image/jpeg`, `image/webp`, ...

        A pipeline that returns an `Image` may return Pillow's picture as well: it leaves as PNG.
        Raises `ValueError` for what the format cannot hold (alpha in a JPEG).
        """
        from livepeer.runner.author import pictures

        return cls(pictures.encode(picture, media_type), media_type)

    @classmethod
    def _validate(cls, value: object) -> Self:
        # An object of Pillow exists only where Pillow has been imported.
        pillow = sys.modules.get("PIL.Image")
        if pillow is not None and isinstance(value, pillow.Image):
            return cls.from_pil(value)
        return super()._validate(value)


class Audio(File):
    """A sound, decoded with PyAV."""

    family = "audio"

    def frames(self) -> Iterator[AudioFrame]:
        """The decoded frames, in order. Raises `FileError` where it cannot be decoded."""
        from livepeer.runner.author import media_codecs

        yield from media_codecs.decode_frames(self.open(), video=False, audio=True)

    def to_ndarray(self, *, max_samples: int = MAX_SAMPLES) -> tuple[npt.NDArray[np.float32], int]:
        """Samples `(channels, n)` float32 in -1..1, and their rate in Hz.

        All of it is in memory, 4 bytes a sample: where `channels * n` is over `max_samples` (by
        default 23 minutes of stereo at 48 kHz), it raises `FileError`, and `frames()` is the way.
        """
        from livepeer.runner.author import media_codecs

        return media_codecs.decode_sound(self.open(), max_samples)

    @classmethod
    def from_ndarray(cls, samples: npt.NDArray[Any], rate: int) -> Self:
        """Encode samples, `(channels, n)` or `(n,)`, float in -1..1 or int16, as 16-bit WAV."""
        from livepeer.runner.author import media_codecs

        return cls(media_codecs.encode_wav(samples, rate), "audio/wav")


class Video(File):
    """A video clip, decoded with PyAV."""

    family = "video"

    def frames(
        self, *, audio: bool = False, max_pixels: int | None = None
    ) -> Iterator[VideoFrame | AudioFrame]:
        """The decoded frames, in order of presentation; with `audio` the sound's in between.

        Raises `FileError` where it cannot be decoded, or a picture's width times height is over
        `max_pixels`, by default 4096x2304.
        """
        from livepeer.runner.author import media_codecs

        yield from media_codecs.decode_frames(
            self.open(), video=True, audio=audio, max_pixels=max_pixels
        )
