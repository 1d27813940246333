"""URLs as Go's `net/url` reads and writes them, as far as a container or a caller can see it."""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(
    r"(?:[^@/\s]*@)?(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._~!$&'()*+,;=<>\"\x80-\U0010ffff-]+)(?::[0-9]*)?"
)
"""What Go's `url.Parse` takes for a host and a port."""
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


def join_names(*names: str) -> str:
    """A path from the root, cleaned and escaped, as `url.JoinPath` makes it of (latin-1) names.

    Escapes in the names are those of the path: raises `BadURL` for a broken one.
    """
    path = "/" + posixpath.normpath("/" + "/".join(filter(None, names))).lstrip("/")
    if names[-1].endswith("/") and not path.endswith("/"):
        path += "/"
    if broken := _ESCAPE.search(path):
        text = path[broken.start() : broken.start() + 3]
        raise BadURL(f"invalid URL escape {json.dumps(text, ensure_ascii=False)}")
    if _ENCODED.fullmatch(path):
        return path
    return quote(unquote_to_bytes(path.encode("latin-1")), safe=_UNESCAPED)


def escaped_again(path: str) -> str:
    """An escaped path that was taken for one that is not, as the reference does in places."""
    return quote(path, safe=_UNESCAPED)


def has_broken_escape(path: str) -> bool:
    """Whether Go's server refuses the request line."""
    return _ESCAPE.search(path) is not None


def unescaped(path: str) -> str:
    """With its escapes undone; each letter is one byte (latin-1), for it need not be UTF-8."""
    return unquote_to_bytes(path).decode("latin-1")


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
