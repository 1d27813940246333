"""What is sent to an app: its path, its query and its body, from what a caller gave."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

from livepeer.client.exceptions import ConfigurationError, InvalidInputError
from livepeer.client.files import as_bytes
from livepeer.client.protocol.wire import JSON, compact_json, path_of
from livepeer.trickle.http.call import Body

Params = Mapping[str, Any] | Sequence[tuple[str, Any]]
Data = bytes | str | Mapping[str, Any] | AsyncIterable[bytes]

_METHOD: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ-")
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
_TEXT: Final = "text/plain; charset=utf-8"
_QUERY: Final = "!$&'()*+,/:;=?@[]%~"


@dataclass(frozen=True, slots=True)
class AppRequest:
    """One request, whole, whoever it goes to."""

    method: str
    target: str
    """Path and query below the app, without a slash at its begin."""
    headers: Mapping[str, str]
    body: Body | None

    @classmethod
    async def make(
        cls,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: Data | None = None,
        files: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Params | None = None,
    ) -> AppRequest:
        """Raises `ConfigurationError` and `InvalidInputError` for what cannot be sent."""
        verb = method.upper()
        if not verb or not set(verb) <= _METHOD:
            raise ConfigurationError(f"{method!r} is no method of HTTP")
        if json is not None and (data is not None or files is not None):
            raise ConfigurationError("a request has one body: json, or data and files")
        sent = dict(headers or {})
        body: Body | None = None
        kind = None
        if json is not None:
            try:
                body = compact_json(json).encode()
            except (TypeError, ValueError) as error:
                raise InvalidInputError(f"`json` cannot be sent as JSON: {error}") from error
            kind = JSON
        elif files is not None:
            body = form = await asyncio.to_thread(_multipart, files, data)
            kind = f"multipart/form-data; boundary={form.boundary}"
            sent = {name: value for name, value in sent.items() if name.lower() not in _FRAMING}
            sent["Content-Length"] = str(form.length)
        elif isinstance(data, Mapping):
            body = urlencode({name: str(value) for name, value in data.items()}).encode()
            kind = "application/x-www-form-urlencoded"
        elif data is not None:
            body = data.encode() if isinstance(data, str) else data
            kind = "application/octet-stream"
        if kind is not None and not any(name.lower() == "content-type" for name in sent):
            sent["Content-Type"] = kind
        return cls(verb, target(path, params), sent, body)


def target(path: str, params: Params | None = None) -> str:
    """A path and its query as they go over the wire; escapes that are there already stay.

    Raises `ConfigurationError` for a path that would leave the app.
    """
    path, mark, query = path.partition("?")
    if any(part in (".", "..") for part in unquote(path).replace("\\", "/").split("/")):
        raise ConfigurationError(f"the path of a request may not go up: {path!r}")
    found = path_of(path.lstrip("/"))
    queries = [quote(query, safe=_QUERY)] if mark else []
    if params:
        queries.append(urlencode(params, doseq=True))
    return f"{found}?{'&'.join(queries)}" if queries else found


class Form:
    """Fields and files as `multipart/form-data` (RFC 7578), sent part by part."""

    def __init__(self) -> None:
        self.boundary = os.urandom(16).hex()
        self._pieces: list[bytes] = []

    @property
    def length(self) -> int:
        """Bytes of all of it."""
        return sum(map(len, self._pieces)) + len(self._end())

    def add(self, name: str, content: bytes, kind: str, filename: str | None = None) -> None:
        """Raises `InvalidInputError` for a media type that no header can have."""
        if not kind.isprintable() or not kind.isascii():
            raise InvalidInputError(f"{name!r} has a media type that is none: {kind!r}")
        told = f'; filename="{_quoted(filename)}"' if filename is not None else ""
        head = (
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"{told}\r\n'
            f"Content-Type: {kind}\r\n\r\n"
        )
        self._pieces += head.encode("utf-8", "replace"), content, b"\r\n"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        yield self._end()

    def _end(self) -> bytes:
        return f"--{self.boundary}--\r\n".encode()


def _quoted(name: str) -> str:
    """As browsers write it (HTML, "multipart form data")."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _multipart(files: Mapping[str, Any], data: Data | None) -> Form:
    """A form with files: each something file-like, or a tuple of its name, that, and its type."""
    form = Form()
    if data is not None:
        if not isinstance(data, Mapping):
            raise ConfigurationError("beside files, `data` are the fields of a form: a dict")
        for name, value in data.items():
            form.add(str(name), str(value).encode("utf-8", "replace"), _TEXT)
    for name, given in files.items():
        label, content, kind = given, given, None
        if isinstance(given, tuple):
            label, content, kind = (*given, None)[:3]
        raw = as_bytes(content, name)
        if raw is None:
            if not isinstance(content, str):
                raise InvalidInputError(f"{name!r} is no file: pass bytes, a path or an open file")
            raw = content.encode(), "text/plain"
        form.add(name, raw[0], str(kind or raw[1]), _name(label, name))
    return form


def _name(given: Any, name: str) -> str:
    if isinstance(given, str):
        return given
    path = given if isinstance(given, os.PathLike) else getattr(given, "name", None)
    return os.path.basename(os.fspath(path)) if isinstance(path, (str, os.PathLike)) else name
