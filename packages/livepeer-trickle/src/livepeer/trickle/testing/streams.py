"""A server of bytes, whose connections end with it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self

from livepeer.trickle.listening import stop_listening

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]

LIMIT: Final = 20.0
"""Seconds that `serve` has to end where it is cancelled."""


class StreamServer:
    """`asyncio.start_server`, on loopback by default, that owns its connections.

    `serve(reader, writer)` has each of them; when it returns, that is closed. `stop` cancels and
    cuts all, also one that was accepted a moment before. A peer that leaves is no error; what else
    `serve` raises goes to the loop's exception handler. `options` are those of `start_server`.
    """

    def __init__(
        self, serve: Serve, *, host: str = "127.0.0.1", port: int = 0, **options: Any
    ) -> None:
        self.host, self.port = host, port
        """Where it listens, from `start` on; the same again where it is started again."""
        self._serve, self._options = serve, options
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        # Also of those that are closed and have still something to send.
        self._transports: weakref.WeakSet[asyncio.WriteTransport] = weakref.WeakSet()
        self._server: asyncio.Server | None = None

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """Those of its open connections."""
        return set(self._open)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen."""
        # Cancelled as it begins to serve, a server that nobody has yet would stay.
        self._server = await asyncio.start_server(
            self._met, self.host, self.port, start_serving=False, **self._options
        )
        self.port = self._server.sockets[0].getsockname()[1]
        try:
            await self._server.start_serving()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop listening, and end every connection. Safe to repeat."""
        server, self._server = self._server, None
        if server is None:
            return
        await stop_listening(server)
        for transport in self._transports:
            transport.abort()
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self.tasks, timeout=LIMIT)
        await asyncio.sleep(0)  # a transport is gone one turn after it was aborted

    def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Where this is a coroutine, nothing is known of the connection before its task has run.
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open[task] = writer
        self._transports.add(writer.transport)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task).close()
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, OSError | asyncio.IncompleteReadError):
            context = {"message": "a connection's task failed", "exception": error, "task": task}
            task.get_loop().call_exception_handler(context)
