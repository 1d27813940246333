"""The server over streamable HTTP: on the loopback, for who has its token."""

from __future__ import annotations

import hmac
import socket

import uvicorn
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from livepeer.runner.mcp.server import AuthorServer

PATH = "/mcp"


class BearerToken:
    """Lets through what has the token; everything else is told to bring it."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._wanted = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = Headers(scope=scope).get("authorization", "").encode("utf-8", "replace")
            if not hmac.compare_digest(given, self._wanted):
                answer = PlainTextResponse(
                    "send the token that livepeer mcp was started with: Authorization: Bearer ...",
                    status_code=401,
                    headers={"WWW-Authenticate": "Bearer"},
                )
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def serve_http(server: AuthorServer, listener: socket.socket, token: str) -> None:
    """Serve on a listening socket of the loopback until a signal ends it."""
    app = BearerToken(server.streamable_http_app(streamable_http_path=PATH), token)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=3, lifespan="on"
    )
    await uvicorn.Server(config).serve(sockets=[listener])
