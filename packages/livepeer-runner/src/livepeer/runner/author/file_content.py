"""What a file is: its bytes from JSON text (base64, a `data:` URI, an `http(s)` URL), and its media
type from its first bytes."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from pathlib import PurePath
from urllib.parse import unquote_to_bytes, urlsplit

from livepeer.runner.exceptions import FileError

# What a JSON Schema can say of the text: exactly what is taken apart here.
PATTERN = (
    r"^(?:https?://[^\s/]\S*|data:[^,]*,[\s\S]*"
    r"|(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)$"
)

# What people write who mean a file of theirs.
_NAME = re.compile(r"[^\x00-\x1f]{0,190}[^\x00-\x1f.\s]\.[A-Za-z0-9]{1,8}")

GENERIC = "application/octet-stream"

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
)
_RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis"), "image/heic"),
    **dict.fromkeys((b"hevc", b"hevx", b"hevm", b"hevs"), "image/heic-sequence"),
    **dict.fromkeys((b"mif1", b"msf1"), "image/heif"),
    b"M4A ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
_SUFFIXES = {
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "audio/flac": ".flac",
    "audio/ogg": ".ogg",
    "image/webp": ".webp",
    "image/avif": ".avif",
    "image/heic": ".heic",
    "image/heif": ".heif",
    "image/heic-sequence": ".heics",
    "video/mp2t": ".ts",
    "video/webm": ".webm",
}
# One container format, two kinds of content: the declared type need not fit what the bytes say.
_CONTAINERS = frozenset({"ogg", "webm", "mp4", "quicktime", "mpeg", "mp2t", "x-matroska", "3gpp"})

# Types that say nothing: the defaults of form encoders and web servers.
_UNTOLD = frozenset({"", GENERIC, "binary/octet-stream", "text/plain"})


def is_url(text: str) -> bool:
    """Whether it is to be fetched. Raises `FileError` for a URL that cannot be."""
    if not text.startswith(("http://", "https://")):
        return False
    try:
        host = urlsplit(text).hostname
    except ValueError:
        host = None
    if not host or any(character.isspace() for character in text):
        raise FileError("not a URL that can be fetched")
    return True


def content_of(text: str) -> tuple[bytes, str | None]:
    """The bytes that the text holds, and their media type where it tells. Raises `FileError`."""
    if not text.startswith("data:"):
        return _decode(text), None
    head, comma, content = text.partition(",")
    if not comma:
        raise FileError("a data: URI is written data:image/png;base64,...")
    media_type = head[len("data:") :].partition(";")[0]
    data = _decode(content) if head.endswith(";base64") else unquote_to_bytes(content)
    return data, media_type or None


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        if _NAME.fullmatch(text):
            text = text.removeprefix("@")  # of a command line, where it is too late for that
            raise FileError(
                f"{text!r} looks like the name of a file, and a file itself is sent: in Python "
                f"pass Path({text!r}), on a command line NAME=@{text}, once for each in a list"
            ) from error
        raise FileError(f"not base64: {error}") from error


def media_type_of(data: bytes, declared: str | None, family: str | None) -> str:
    """The most precise media type that declaration and content allow.

    Raises `FileError` where it does not fit the `family`, the first half of the types that are
    taken (a sound given as an image).
    """
    found = (declared or "").split(";")[0].strip().lower()
    if found in _UNTOLD:
        told = found == "text/plain" and family is None
        found = sniff(data) or (found if told else GENERIC)
    if family is not None and not _may_hold(found, family):
        article = "an" if family[0] in "aeiou" else "a"
        raise FileError(f"the file is {found}, not {article} {family}")
    return found


def sniff(data: bytes) -> str | None:
    """The media type that the first bytes show; None where they show none that is well known."""
    head = data[:16]
    for magic, media_type in _MAGIC:
        if head.startswith(magic) and (magic != b"BM" or _is_bitmap(data)):
            return media_type
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        found = _BRANDS.get(head[8:12], "video/mp4")
        # The general brand may come first, and the one that names the codec behind it.
        return "image/avif" if found == "image/heif" and b"avif" in brands(data) else found
    if len(data) > 2 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2:
        return "audio/mpeg"
    if data[:1] == b"G" and data[188:189] in (b"G", b"") and len(data) >= 188:
        return "video/mp2t"
    return None


def brands(data: bytes) -> frozenset[bytes]:
    """What a file of the MP4 family says that it is; empty of any other."""
    if data[4:8] != b"ftyp":
        return frozenset()
    size = min(int.from_bytes(data[:4], "big"), 256)
    return frozenset((data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))))


def _is_bitmap(data: bytes) -> bool:
    """Two letters are little to go by: the header has the file's size and four zero bytes."""
    return len(data) >= 14 and data[6:10] == b"\0\0\0\0"


def _may_hold(media_type: str, family: str) -> bool:
    """Whether a file of this type can be of that family: `video/webm` may be a sound recording."""
    kind, _, subtype = media_type.partition("/")
    if kind == family or media_type == GENERIC:
        return True
    return {kind, family} <= {"audio", "video", "application"} and subtype in _CONTAINERS


def suffix(media_type: str, name: str | None = None) -> str:
    """The ending for a temporary file: libraries look at it."""
    if name and (ending := PurePath(name).suffix) and ending[1:].isalnum() and len(ending) <= 6:
        return ending
    return _SUFFIXES.get(media_type) or mimetypes.guess_extension(media_type) or ""
