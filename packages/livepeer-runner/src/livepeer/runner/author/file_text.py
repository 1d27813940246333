"""A file as JSON text: base64, a `data:` URI, or an `http(s)` URL."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes, urlsplit

from livepeer.runner.exceptions import FileError

# What a JSON Schema can say of the text: exactly what is taken apart here.
PATTERN = (
    r"^(?:https?://[^\s/]\S*|data:[^,]*,[\s\S]*"
    r"|(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)$"
)

# What people write who mean a file of theirs.
_NAME = re.compile(r"[^\x00-\x1f]{0,190}[^\x00-\x1f.\s]\.[A-Za-z0-9]{1,8}")


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
            raise FileError(
                f"{text!r} looks like the name of a file, and a file itself is sent: in Python "
                f"pass Path({text!r}), on a command line @{text}"
            ) from error
        raise FileError(f"not base64: {error}") from error
