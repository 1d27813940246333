"""Serving an application the way Go's HTTP server does, as far as it shows."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

from aiohttp import web

from livepeer.runner.devnet.go_http import Handler, no_continue, strip_defaults
from livepeer.trickle.server.listener import abort
from livepeer.trickle.server.site import Site

_LARGEST_HEAD = 1024 * 1024 + 4096
"""Go refuses larger heads: 1 MiB and a little for its buffers."""
_LARGEST_FIELD = 16 * 1024 * 1024
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
    b"431 Request Header Fields Too Large"
)


class DropConnection(Exception):
    """Ends the connection without an answer, as a panic in a Go handler does."""


def application() -> web.Application:
    """An application that adds nothing to an answer and takes a body of any size."""
    app = web.Application(client_max_size=0)
    app.on_response_prepare.append(strip_defaults)
    return app


def handle(app: web.Application, handler: Handler) -> None:
    """Leads every method and path that has no route yet to one handler."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        if sum(len(name) + len(value) + 4 for name, value in request.raw_headers) > _LARGEST_HEAD:
            return end_connection(request, _TOO_LARGE)
        try:
            return await handler(request)
        except DropConnection:
            return end_connection(request)
        except ConnectionError:
            if request.transport is not None and not request.transport.is_closing():
                raise
            # Callers leave: nothing that aiohttp has to log.
            return end_connection(request)

    app.router.add_route("*", "/{path:.*}", guarded, expect_handler=no_continue)


@contextlib.asynccontextmanager
async def serve(
    app: web.Application, listening: socket.socket, context: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Serves `app` on an open socket until it is left; handlers end with their callers."""
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        auto_decompress=False,
        max_line_size=_LARGEST_FIELD,
        max_field_size=_LARGEST_FIELD,
        # A refused upload is read for a moment, so that its answer is not lost.
        lingering_time=0.5,
        shutdown_timeout=0.5,
    )
    try:
        await runner.setup()
        await Site(runner, sock=listening, ssl_context=context).start()
        yield
    finally:
        connections = runner.server.connections if runner.server is not None else []
        transports = [connection.transport for connection in connections]
        try:
            await runner.cleanup()
        finally:
            # That closes connections, which waits for ever where a client has left without reading.
            for transport in transports:
                if transport is not None:
                    abort(transport)
        await asyncio.sleep(0)


def end_connection(request: web.Request, last_words: bytes = b"") -> web.Response:
    """Ends the connection below HTTP; the answer it returns has nowhere to go."""
    if request.transport is not None:
        if last_words:
            request.transport.write(last_words)
            request.transport.close()
        else:
            request.transport.abort()
    return web.Response()
