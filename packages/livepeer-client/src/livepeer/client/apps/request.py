"""What is sent to an app: its path, its query and its body, from what a caller gave."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

import aiohttp

from livepeer.client.exceptions import ConfigurationError, InvalidInputError
from livepeer.client.files import as_bytes
from livepeer.client.http.requests import Body
from livepeer.client.protocol.wire import JSON, compact_json, path_of

Params = Mapping[str, Any] | Sequence[tuple[str, Any]]
Data = bytes | str | Mapping[str, Any] | AsyncIterable[bytes]

_METHOD: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ-")
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
        if json is not None:
            try:
                body = compact_json(json).encode()
            except (TypeError, ValueError) as error:
                raise InvalidInputError(f"`json` cannot be sent as JSON: {error}") from error
            if not any(name.lower() == "content-type" for name in sent):
                sent["Content-Type"] = JSON
        elif files is not None:
            body = await asyncio.to_thread(_multipart, files, data)
        elif isinstance(data, Mapping):
            body = aiohttp.FormData({name: str(value) for name, value in data.items()})
        elif data is not None:
            body = data.encode() if isinstance(data, str) else data
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


def _multipart(files: Mapping[str, Any], data: Data | None) -> aiohttp.FormData:
    """A form with files: each something file-like, or a tuple of its name, that, and its type."""
    form = aiohttp.FormData(default_to_multipart=True)
    if data is not None:
        if not isinstance(data, Mapping):
            raise ConfigurationError("beside files, `data` are the fields of a form: a dict")
        for name, value in data.items():
            form.add_field(name, str(value))
    for name, given in files.items():
        label, content, kind = given, given, None
        if isinstance(given, tuple):
            label, content, kind = (*given, None)[:3]
        raw = as_bytes(content, name)
        if raw is None:
            if not isinstance(content, str):
                raise InvalidInputError(f"{name!r} is no file: pass bytes, a path or an open file")
            raw = content.encode(), "text/plain"
        # As a file, which aiohttp sends piece by piece.
        content = io.BytesIO(raw[0])
        form.add_field(name, content, filename=_name(label, name), content_type=kind or raw[1])
    return form


def _name(given: Any, name: str) -> str:
    if isinstance(given, str):
        return given
    path = given if isinstance(given, os.PathLike) else getattr(given, "name", None)
    return os.path.basename(os.fspath(path)) if isinstance(path, (str, os.PathLike)) else name
