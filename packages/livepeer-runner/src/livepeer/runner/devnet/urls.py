"""URLs as Go's `net/url` reads and writes them, as far as a container or a caller can see it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(?:[^@/\s]*@)?(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::[0-9]{0,5})?")
_UNESCAPED = "$&+,/:;=@-_.~"
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

    @property
    def hostname(self) -> str:
        """The host without user and port, in small letters; an IPv6 address without brackets."""
        host = self.host.rpartition("@")[2]
        if host.startswith("["):
            return host[1:].partition("]")[0].lower()
        return host.partition(":")[0].lower()

    @property
    def path(self) -> str:
        """The path without the query, its escapes undone as `unescaped` does."""
        return unescaped(self.target.partition("?")[0])


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


def parse_http_url(raw: str) -> GoURL:
    """An absolute `http` or `https` URL with a host; `#` is a letter like others.

    Raises `BadURL`, as `url.ParseRequestURI` and the looks behind it would refuse it.
    """
    url = parse_url(raw.replace("#", "%23"))
    if url.scheme not in ("http", "https"):
        raise BadURL(f'parse "{raw}": scheme must be http or https')
    if not url.hostname or not _HOST.fullmatch(url.host):
        raise BadURL(f'parse "{raw}": invalid host')
    return url


def runner_path(base: str, name: str) -> str:
    """The path on which a runner is asked for `name` below the path of its URL.

    It is escaped twice: Go's `url.JoinPath` gives an escaped path, which the reference takes for
    one that is not. Raises `BadURL`.
    """
    path = posixpath.normpath(f"/{base}/{name}")
    if name.endswith("/") and not path.endswith("/"):
        path += "/"
    path = "/" + path.lstrip("/")
    if broken := _ESCAPE.search(path):
        raise BadURL(f'invalid URL escape "{path[broken.start() : broken.start() + 3]}"')
    return quote(escape_path(path), safe=_UNESCAPED)


def unescaped(path: str) -> str:
    """With escapes of ASCII undone; bytes that are none keep theirs, whatever they mean."""
    return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in unquote_to_bytes(path))


def escape_path(path: str) -> str:
    """As it is where it is already escaped, else undone and escaped anew."""
    if _ENCODED.fullmatch(path):
        return path
    return quote(unquote_to_bytes(path), safe=_UNESCAPED)


def join_path(base: str, name: str) -> str:
    """A path below `base`, cleaned; escapes in `name` are undone and made anew."""
    path = posixpath.normpath(f"{base}/{unquote_to_bytes(name).decode('utf-8', 'replace')}")
    return quote(path, safe=_UNESCAPED)


def clean_path(path: str) -> str:
    """Without `.`, `..` and double slashes; one at the end stays."""
    cleaned = posixpath.normpath(path)
    if cleaned.startswith("//"):
        cleaned = cleaned[1:]
    return cleaned + "/" if path.endswith("/") and cleaned != "/" else cleaned
