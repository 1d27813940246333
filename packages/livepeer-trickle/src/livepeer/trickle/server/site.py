"""Where a server of aiohttp listens, so that being cancelled as it begins leaves nothing open."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from aiohttp import web

from livepeer.trickle.listening import stop_listening


class Site(web.BaseSite):
    """Listens where `loop.create_server` is told to (`host` and `port`, or `sock`).

    aiohttp's own sites, and `asyncio.start_server`, forget a server that listens already if they
    are cancelled as it begins. This one is closed by `stop`, or the runner's `cleanup`.
    """

    __slots__ = ("_where",)

    def __init__(
        self, runner: web.BaseRunner, *, ssl_context: ssl.SSLContext | None = None, **where: Any
    ) -> None:
        super().__init__(runner, ssl_context=ssl_context)
        self._where = where

    @property
    def name(self) -> str:
        """For aiohttp's own messages."""
        return f"livepeer at {self._where}"

    async def start(self) -> None:
        """Listen. Raises `OSError` where the address can't be had."""
        await super().start()
        handler = self._runner.server
        assert handler is not None
        server = await asyncio.get_running_loop().create_server(
            handler,
            ssl=self._ssl_context,
            backlog=self._backlog,
            start_serving=False,
            **self._where,
        )
        self._server = server
        await server.start_serving()

    async def stop(self) -> None:
        """Listen no more; connections go on."""
        if self._server is not None:
            await stop_listening(self._server)
        await super().stop()
