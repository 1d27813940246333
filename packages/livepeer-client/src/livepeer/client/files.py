"""Files: what comes out of a call, and how paths, bytes, arrays and pictures become bytes."""

from __future__ import annotations

import base64
import mimetypes
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any, Final

from livepeer.client.exceptions import InvalidInputError
from livepeer.client.types import FieldError


class FileOutput:
    """A file that a pipeline returned, in memory.

    `data` are its bytes, `media_type` says what they are (`image/png`), where anybody said so.
    `bytes(f)`, `len(f)` and `f.save(path)` do what they say.
    """

    __slots__ = ("data", "media_type")

    def __init__(self, data: bytes, media_type: str = "application/octet-stream") -> None:
        self.data = data
        self.media_type = media_type

    @property
    def suffix(self) -> str:
        """A file name's ending for this type (`.png`), `.bin` where none is known."""
        return mimetypes.guess_extension(self.media_type) or ".bin"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes to `path`; a folder gets a file `output` with the right ending."""
        target = Path(path)
        if target.is_dir():
            target = target / f"output{self.suffix}"
        target.write_bytes(self.data)
        return target

    def data_uri(self) -> str:
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
