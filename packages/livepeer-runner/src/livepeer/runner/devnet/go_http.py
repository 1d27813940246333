"""HTTP as Go's server speaks it: bodies that are asked for, and answers with exactly the headers
that the reference writes."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE

from livepeer.runner.devnet import go_json

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TEXT = "text/plain; charset=utf-8"
LARGEST_WITH_LENGTH = 2048
"""Above this many bytes Go's server sends chunks, because it had to begin before it knew the
end."""
_HTML = (b"<!doctype html", b"<html", b"<head", b"<script", b"<body", b"<h1", b"<div", b"<p", b"<a")
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"%PDF-": "application/pdf",
    b"\x1f\x8b\x08": "application/x-gzip",
    b"PK\x03\x04": "application/zip",
}


class Untyped(web.Response):
    """An answer that says nothing of its type, not even that it is bytes."""


class UntypedStream(web.StreamResponse):
    """The same for a body that comes in pieces."""


def reply(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer with these headers and its length, and nothing else."""
    kind = web.Response if "Content-Type" in (headers or {}) else Untyped
    response = kind(status=status, body=body, headers=dict(headers or {}))
    if len(body) > LARGEST_WITH_LENGTH:
        response.enable_chunked_encoding()
    return response


def error(status: int, text: str | bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    """A refusal as text, with a line end, whatever type the text may have had."""
    body = text.encode() if isinstance(text, str) else text
    fixed = {"Content-Type": TEXT, "X-Content-Type-Options": "nosniff"}
    return reply(status, body + b"\n", {**(headers or {}), **fixed})


def json_reply(document: Any) -> web.Response:
    """A document as Go's handlers write one, 200."""
    return reply(200, go_json.dumps(document), {"Content-Type": "application/json"})


def only(request: web.Request, *methods: str) -> web.Response | None:
    """The refusal of another method than these, as Go's router words it."""
    if request.method in methods:
        return None
    return error(405, "Method Not Allowed", {"Allow": ", ".join(methods)})


def guessed(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer whose type is guessed from its first bytes; JSON is text."""
    typed = {"Content-Type": sniff(body)} if body else {}
    return reply(status, body, {**(headers or {}), **typed})


def sniff(body: bytes) -> str:
    """The common cases of the WHATWG rules that Go's server applies to untyped bodies."""
    start = body[:512].lstrip(b"\t\n\x0c\r ").lower()
    if any(start.startswith(tag) and start[len(tag) : len(tag) + 1] in b" >" for tag in _HTML):
        return "text/html; charset=utf-8"
    if start.startswith(b"<?xml"):
        return "text/xml; charset=utf-8"
    for magic, mime_type in _MAGIC.items():
        if body.startswith(magic):
            return mime_type
    binary = any(byte <= 8 or byte == 11 or 14 <= byte <= 26 or 28 <= byte <= 31 for byte in start)
    return "application/octet-stream" if binary else TEXT


async def strip_defaults(request: web.Request, response: web.StreamResponse) -> None:
    """Takes out what aiohttp adds by itself; for `Application.on_response_prepare`."""
    if response.headers.get(hdrs.SERVER) == SERVER_SOFTWARE:
        del response.headers[hdrs.SERVER]
    if isinstance(response, Untyped | UntypedStream):
        response.headers.pop(hdrs.CONTENT_TYPE, None)


async def no_continue(request: web.Request) -> None:
    """An `expect_handler` that waits: 100 is for callers whose request was accepted."""


def expects_continue(request: web.Request) -> bool:
    """Whether the caller waits for a 100 before it sends its body."""
    return request.headers.get("Expect", "").lower() == "100-continue"


async def read_body(request: web.Request) -> bytes:
    """The whole body; a caller that waits for 100 gets it first."""
    _go_on(request)
    return await request.read()


async def read_on(request: web.Request) -> AsyncIterator[bytes]:
    """The body in pieces, as they arrive; a caller that waits for 100 gets it first."""
    _go_on(request)
    async for data in request.content.iter_any():
        yield data


async def read_small(request: web.Request, most: int) -> bytes | None:
    """The whole body, or None if it has over `most` bytes."""
    body = bytearray()
    async for data in read_on(request):
        body += data
        if len(body) > most:
            return None
    return bytes(body)


def redirect(request: web.Request, path: str) -> web.Response:
    """To another path, with the query of this one; method and body are to be kept."""
    query = request.raw_path.partition("?")[2]
    location = f"{path}?{query}" if query else path
    headers = {"Location": location}
    if request.method not in ("GET", "HEAD"):
        return reply(307, headers=headers)
    shown = html.escape(location, quote=False).replace('"', "&#34;").replace("'", "&#39;")
    body = f'<a href="{shown}">Temporary Redirect</a>.\n\n'.encode()
    return reply(307, body, {**headers, "Content-Type": "text/html; charset=utf-8"})


def _go_on(request: web.Request) -> None:
    if expects_continue(request) and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
