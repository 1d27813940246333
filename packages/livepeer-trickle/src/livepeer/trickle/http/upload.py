"""A request whose body is written piece by piece: `Upload`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from livepeer.trickle.exceptions import TrickleConnectionError, TrickleTimeout
from livepeer.trickle.http.buffer import PIECE
from livepeer.trickle.http.exchange import HTTPExchange
from livepeer.trickle.http.pool import Pool
from livepeer.trickle.http.state import ExchangeEvent, ExchangeState
from livepeer.trickle.types import TLS

_LAST_CHUNK: Final = b"0\r\n\r\n"


class Upload(HTTPExchange):
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
        self.handed = 0
        """Bytes of the body that were handed to a connection. 0: none has left."""
        fields = {"Transfer-Encoding": "chunked", **headers}
        super().__init__(pool, lines, "POST", url, fields, tls, connect, whole=False)

    def on_over(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the exchange is over."""
        self._on_over = callback

    async def opened(self) -> None:
        """Wait until the headers have left on a connection that is open, or the exchange is over.

        A used connection that the server has closed meanwhile costs a second one: the body has to
        wait for it.
        """
        await self.until(self._is_open)

    async def wait(self, limit: float | None = None) -> None:
        """Wait until the exchange is over, or for `limit` seconds. Being cancelled does not
        disturb it."""
        await self.until(_never, limit)

    async def write(
        self, data: bytes | bytearray | memoryview, *, limit: float, end: bool = False
    ) -> None:
        """Send one or more chunks now, and the end of the body if `end`.

        Waits while the peer takes nothing, `limit` seconds at most for each chunk. Raises
        `TrickleConnectionError` after the exchange is over.
        """
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
        if self.whole or connection is None or not connection.open:
            raise TrickleConnectionError("the server no longer takes the body", url=self.url)
        if self.state is ExchangeState.SENT:
            self._move(ExchangeEvent.BODY)
        self.handed += len(data)
        self.whole = end
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
        if self.whole or self.over:
            return
        self.whole = True
        connection = self._connection
        if connection is None or (self.state is ExchangeState.SENT and not connection.open):
            self._request += _LAST_CHUNK  # on the connection that is, or will be, made
            return
        if self.state is ExchangeState.SENT:
            self._move(ExchangeEvent.BODY)
        if connection.open:
            connection.write(_LAST_CHUNK)

    def _is_open(self) -> bool:
        return self._connection is not None and self._connection.open


def _never() -> bool:
    return False
