"""A request whose body is written while it lasts: `Upload`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from livepeer.trickle.exceptions import TrickleConnectionError, TrickleError, TrickleTimeout
from livepeer.trickle.http.connection import TLS, Connection
from livepeer.trickle.http.exchange import Exchange, Reply
from livepeer.trickle.http.piece import PIECE
from livepeer.trickle.http.pool import Pool


class Upload(Exchange):
    """One POST with an open body."""

    def __init__(
        self,
        pool: Pool,
        lines: str,
        url: str,
        headers: Mapping[str, str],
        tls: TLS,
        connect: float,
    ) -> None:
        self._callback: Callable[[Upload], object] | None = None
        self.handed = 0
        """Bytes of the body that were handed to a connection. 0: none has left."""
        self._wrote = False
        self._ended = False
        self._ends = False
        fields = {"Transfer-Encoding": "chunked", **headers}
        super().__init__(pool, lines, "POST", url, fields, tls, connect)

    @property
    def answered(self) -> bool:
        """Whether the exchange is over: an answer, a lost connection, or given up."""
        return self.over

    @property
    def body_ended(self) -> bool:
        """Whether the end of the body was handed to the connection."""
        return self._ended

    def on_answer(self, callback: Callable[[Upload], object]) -> None:
        """Call `callback` when the exchange is over."""
        self._callback = callback

    async def opened(self) -> None:
        """Wait until the headers have left on a connection that is open, or the exchange is over.

        A used connection that the server has closed meanwhile costs a second one: the body has to
        wait for it.
        """
        await self.until(self._is_open)

    async def wait(self, limit: float | None) -> None:
        """Wait until the exchange is over, or for `limit` seconds. Being cancelled does not
        disturb it."""
        await self.until(_never, limit)

    async def write(
        self, data: bytes | bytearray | memoryview, *, limit: float, end: bool = False
    ) -> None:
        """Send one or more chunks now, and with `end` the end of the body; waits, `limit` seconds
        at most for each, while the peer does not take them. After the exchange is over it raises
        `TrickleConnectionError`."""
        if len(data) <= PIECE and not isinstance(data, memoryview):
            await self._write(data, limit, end)
            return
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE):
            await self._write(
                view[start : start + PIECE], limit, end and start + PIECE >= len(view)
            )

    async def _write(
        self, data: bytes | bytearray | memoryview, limit: float, end: bool = False
    ) -> None:
        connection = self._connection
        if self.over or self._ended or connection is None or not connection.open:
            raise TrickleConnectionError("the server no longer takes the body", url=self.url)
        self._wrote = True
        self.handed += len(data)
        self._ended = end
        last = b"\r\n0\r\n\r\n" if end else b"\r\n"
        connection.write(b"".join((b"%x\r\n" % len(data), data, last)))
        if connection.congested:
            try:
                async with asyncio.timeout(limit):
                    await connection.writable()
            except TimeoutError:
                self.abort(TrickleTimeout(f"the server took nothing for {limit:g} s", url=self.url))
            if self.error is not None:
                raise self.error

    def end(self) -> None:
        """End the body, as soon as there is a connection. Never waits, so that a cancelled writer
        can still do it."""
        connection = self._connection
        if self._ended or self.over:
            return
        if connection is None or not (self._wrote or connection.open):
            self._ends = True  # nothing has left: `_begin` does it
            return
        self._ended = self._wrote = True
        if connection.open:
            connection.write(b"0\r\n\r\n")

    def result(self) -> Reply:
        """The answer, once the exchange is over, or the error that came instead of it."""
        return self.reply()

    def _is_open(self) -> bool:
        return self._connection is not None and self._connection.open

    def _begin(self, connection: Connection) -> None:
        super()._begin(connection)
        if self._ends:
            self.end()

    def _repeatable(self) -> bool:
        return not self.over and not self._wrote

    def _may_reuse(self) -> bool:
        # Answered before the body ended: the server wants no more of it.
        return self._ended

    def _finish(self, error: TrickleError | None) -> None:
        if self.over:
            return
        callback, self._callback = self._callback, None
        super()._finish(error)
        if callback is not None:
            callback(self)


def _never() -> bool:
    return False
