"""Files and values: what JSON carries of them into a call, and a call's result out of it."""

from __future__ import annotations

import base64
import binascii
import math
import mimetypes
import os
import re
import struct
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from livepeer.client.exceptions import InvalidInputError
from livepeer.client.schema.parts import SchemaParts, is_file, media_type, wants_data_uri
from livepeer.client.types import FieldError

_DATA_URI: Final = re.compile(r"data:([\w.+-]+/[\w.+*-]+)?((?:;[\w-]+=[^;,]*)*);base64,", re.ASCII)
DEPTH: Final = 256
"""Arrays and objects within each other, of an answer."""
_DATA_HEAD: Final = 1_000
"""A data URI names its type and its parameters in so many letters; a million of them are an
attack."""


class FileOutput:
    """A file that a pipeline returned, in memory.

    `data` are its bytes. `media_type` is what they are (`image/png`), as the answer or else their
    first bytes say; `application/octet-stream` if neither does. `bytes(file)` and `len(file)` work.
    """

    __slots__ = ("data", "media_type")

    def __init__(self, data: bytes, media_type: str = "application/octet-stream") -> None:
        self.data = data
        self.media_type = media_type

    @property
    def suffix(self) -> str:
        """The ending of a file name for this type (`.png`); `.bin` if none is known."""
        return mimetypes.guess_extension(self.media_type) or ".bin"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes to `path`, in a folder to `output` and `suffix`; returns the path."""
        target = Path(path)
        if target.is_dir():
            target = target / f"output{self.suffix}"
        target.write_bytes(self.data)
        return target

    def data_uri(self) -> str:
        """`data:image/png;base64,...`"""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"

    def __bytes__(self) -> bytes:
        return self.data

    def __len__(self) -> int:
        return len(self.data)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileOutput):
            return NotImplemented
        return (self.data, self.media_type) == (other.data, other.media_type)

    def __hash__(self) -> int:
        return hash((self.data, self.media_type))

    def __repr__(self) -> str:
        return f"FileOutput({len(self.data):,} bytes, {self.media_type})"


def as_bytes(value: Any, where: str = "input") -> tuple[bytes, str] | None:
    """Bytes and media type of something file-like, or None where it is nothing of the kind."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        return data, sniff(data)
    if isinstance(value, FileOutput):
        return value.data, value.media_type
    if isinstance(value, os.PathLike):
        path = Path(value)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise unsendable(f"{path} cannot be read: {error.strerror}", where) from error
        return data, mimetypes.guess_type(path.name)[0] or sniff(data)
    if is_array(value):
        return _png(value, where), "image/png"
    if type(value).__module__.partition(".")[0] == "PIL" and hasattr(value, "save"):
        import io

        buffer = io.BytesIO()
        value.save(buffer, format="PNG")
        return buffer.getvalue(), "image/png"
    if hasattr(value, "read"):
        data = value.read()
        if isinstance(data, str):
            data = data.encode()
        name = getattr(value, "name", None)
        guess = mimetypes.guess_type(name)[0] if isinstance(name, str) else None
        return data, guess or sniff(data)
    return None


def sniff(data: bytes) -> str:
    """The media type that the first bytes speak of."""
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF" and len(data) >= 12:
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12], _UNKNOWN)
    if data[4:8] == b"ftyp":
        return "video/mp4"
    return _UNKNOWN


_UNKNOWN: Final = "application/octet-stream"
_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"\x1aE\xdf\xa3", "video/webm"),
)


def is_array(value: Any) -> bool:
    """Is it a numpy array? Whoever passes one has imported numpy, so nobody else has to."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def _png(array: Any, where: str) -> bytes:
    """A uint8 array (H, W), (H, W, 3) RGB or (H, W, 4) RGBA as PNG."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != "uint8" or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise unsendable(
            f"an array of {array.dtype} with shape {array.shape} is no picture: use uint8 (H, W),"
            " (H, W, 3) or (H, W, 4)",
            where,
        )
    height, width = array.shape[:2]
    rows = array.reshape(height, width * channels)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    color = {1: 0, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(raw, 1)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def unsendable(told: str, where: str) -> InvalidInputError:
    """The error for a value at `where` that no request can carry."""
    return InvalidInputError(f"{where or 'input'}: {told}", fields=[FieldError(where, told)])


def encode(value: Any, schema: Any = None) -> Any:
    """`value` as JSON can carry it: files and pictures become base64, or a data URI where the
    schema names a media type. Raises `InvalidInputError` that names the field."""
    try:
        return _encode(value, schema, "", SchemaParts(schema))
    except RecursionError:
        raise unsendable("it is nested too deeply, or holds itself", "") from None


def _encode(value: Any, schema: Any, where: str, parts: SchemaParts) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise unsendable(f"{value} is no JSON number", where)
        return value
    part = parts.of(schema)
    if isinstance(value, Mapping):
        return {
            str(key): _encode(item, parts.property(part, str(key)), _join(where, key), parts)
            for key, item in value.items()
        }
    if is_array(value) and not is_file(part) and not _looks_like_picture(value, part):
        if value.dtype.kind == "f" and not sys.modules["numpy"].isfinite(value).all():
            raise unsendable("not every number in this array is finite, as JSON wants it", where)
        return value.tolist()
    if (binary := as_bytes(value, where)) is not None:
        data, kind = binary
        text = base64.b64encode(data).decode("ascii")
        return f"data:{kind};base64,{text}" if wants_data_uri(part) else text
    if isinstance(value, (list, tuple)):
        items = part.get("items")
        return [
            _encode(item, items, _join(where, index), parts) for index, item in enumerate(value)
        ]
    if _is_model(value):
        return _encode(_dumped(value), schema, where, parts)
    if hasattr(value, "item") and type(value).__module__ == "numpy":
        return _encode(value.item(), schema, where, parts)
    return _jsonable(value, where)


def _is_model(value: Any) -> bool:
    """Is it a Pydantic model? Whoever passes one has imported pydantic, so nobody else has to."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(value, pydantic.BaseModel)


def _dumped(model: Any) -> Any:
    """A model's values: its own JSON, but for the files in it, which that would take for text."""
    values = model.model_dump()
    return _leaves(values) if _holds_files(values) else model.model_dump(mode="json")


def _holds_files(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_files, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_files, value))
    return _holds_bytes(value)


def _leaves(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _leaves(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_leaves(item) for item in value]
    return value if _holds_bytes(value) else _jsonable(value, "")


def _holds_bytes(value: Any) -> bool:
    """Is it the content of a file? A path is text in a model: a field of its own type says so."""
    if isinstance(value, (bytes, bytearray, memoryview, FileOutput)) or is_array(value):
        return True
    return hasattr(value, "read") or type(value).__module__.partition(".")[0] == "PIL"


def _jsonable(value: Any, where: str) -> Any:
    """Dates, decimals, enumerations, sets and the like, as Pydantic writes them."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return to_jsonable_python(value)
    except PydanticSerializationError as error:
        raise unsendable(
            f"a value of type {type(value).__name__} cannot be sent: use JSON values, bytes, a"
            " path, an open file, a numpy image or a PIL image",
            where,
        ) from error


def may_hold_files(text: bytes) -> bool:
    """Whether a JSON text may have in it what `decode` looks for where there is no schema: a data
    URI, perhaps escaped or in UTF-16, or too much depth. Else nothing in it has to be looked at."""
    return (
        b"data:" in text
        or b"\\" in text
        or b"\0" in text
        or text.count(b"[") + text.count(b"{") > DEPTH
    )


def decode(value: Any, schema: Any = None) -> Any:
    """`value` with every file in it as a `FileOutput`: data URIs always, bare base64 where the
    schema says that it is one. Raises `ValueError` for what is nested too deeply to read."""
    try:
        return _decode(value, schema, SchemaParts(schema), 0)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _decode(value: Any, schema: Any, parts: SchemaParts, depth: int) -> Any:
    if isinstance(value, str):
        if value.startswith("data:") and (match := _DATA_URI.match(value, 0, _DATA_HEAD)):
            data = _unbase64(value[match.end() :])
            if data is not None:
                return FileOutput(data, match[1] or sniff(data))
        if schema is None:
            return value
        part = parts.of(schema)
        if is_file(part) and (data := _unbase64(value)) is not None:
            named = media_type(part)
            return FileOutput(data, named if named and "*" not in named else sniff(data))
        return value
    if depth > DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, list):
        items = parts.of(schema).get("items")
        return [_decode(item, items, parts, depth + 1) for item in value]
    if isinstance(value, dict):
        part = parts.of(schema)
        return {
            key: _decode(item, parts.property(part, key), parts, depth + 1)
            for key, item in value.items()
        }
    return value


def _unbase64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _looks_like_picture(array: Any, part: Mapping[str, Any]) -> bool:
    if part.get("type") == "array":
        return False
    return array.dtype == "uint8" and array.ndim in (2, 3) and array.shape[-1:] != (0,)


def _join(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)
