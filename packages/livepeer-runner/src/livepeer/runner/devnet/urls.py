"""URLs as Go's `net/url` reads and writes them, as far as a container or a caller can see it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODED = re.compile(r"(?:[A-Za-z0-9\-_.~!$&'()*+,;=:@/\[\]]|%[0-9A-Fa-f]{2})*")


class BadURL(ValueError):
    """Go's error text for the same URL."""


@dataclass(frozen=True)
class GoURL:
    scheme: str
    host: str
    target: str
    """Escaped, with the query; `/` at least where there is a host."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.target}" if self.scheme else self.target


def parse_url(raw: str) -> GoURL:
    """Splits a URL; a fragment is cut off. Raises `BadURL`."""
    text = raw.partition("#")[0]
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in text):
        raise BadURL(f'parse "{raw}": net/url: invalid control character in URL')
    if text.startswith(":"):
        raise BadURL(f'parse "{raw}": missing protocol scheme')
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else ""
    rest = text[match.end() :] if match else text
    path, question, query = rest.partition("?")
    if not path.startswith("/"):
        if scheme:
            return GoURL(scheme, "", rest)
        if ":" in path.partition("/")[0]:
            raise BadURL(f'parse "{raw}": first path segment in URL cannot contain colon')
    host = ""
    if path.startswith("//"):
        host, slash, path = path[2:].partition("/")
        path = slash + path
    if broken := _ESCAPE.search(path):
        escape = path[broken.start() : broken.start() + 3]
        raise BadURL(f'parse "{raw}": invalid URL escape "{escape}"')
    target = escape_path(path)
    if host and not target:
        target = "/"
    return GoURL(scheme, host, target + question + query.replace(" ", "%20"))


def escape_path(path: str) -> str:
    """As it is where it is already escaped, else undone and escaped anew."""
    if _ENCODED.fullmatch(path):
        return path
    return quote(unquote_to_bytes(path), safe="$&+,/:;=@-_.~")


def join_path(base: str, name: str) -> str:
    """A path below `base`, cleaned; escapes in `name` are undone and made anew."""
    path = posixpath.normpath(f"{base}/{unquote_to_bytes(name).decode('utf-8', 'replace')}")
    return quote(path, safe="$&+,/:;=@-_.~")


def clean_path(path: str) -> str:
    """Without `.`, `..` and double slashes; one at the end stays."""
    cleaned = posixpath.normpath(path)
    if cleaned.startswith("//"):
        cleaned = cleaned[1:]
    return cleaned + "/" if path.endswith("/") and cleaned != "/" else cleaned
