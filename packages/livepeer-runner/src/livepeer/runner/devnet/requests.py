"""What a handler needs of a request beyond aiohttp's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def no_continue(request: web.Request) -> None:
    """An `expect_handler` that waits: 100 is for callers whose envelope was accepted."""


def expects_continue(request: web.Request) -> bool:
    return request.headers.get("Expect", "").lower() == "100-continue"


async def read_body(request: web.Request) -> bytes:
    """The whole body; only now is a caller that asked told to send it."""
    if expects_continue(request) and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return await request.read()
