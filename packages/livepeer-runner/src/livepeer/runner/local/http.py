"""An app behind a real server on the running event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from livepeer.runner.serving.listener import bind
from livepeer.runner.serving.server import server_config, uvicorn_server


@asynccontextmanager
async def listening(app: Starlette, listener: socket.socket | None = None) -> AsyncIterator[str]:
    """Serve an app of `make_app`, on a free port of the loopback unless a socket is given.

    Gives its URL as soon as it is listening; its setup may still be running. At the end it drains,
    as at a SIGTERM; whoever is cancelled meanwhile leaves once it has.
    """
    listener = bind("127.0.0.1", 0) if listener is None else listener
    host, port = listener.getsockname()[:2]
    server = uvicorn_server(server_config(app))
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="local server")
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            await serving  # a server that is cut off leaves its sockets and its pipeline
            raise
