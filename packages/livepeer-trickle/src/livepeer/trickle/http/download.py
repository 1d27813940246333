"""A request whose answer is read while it comes: `Download`."""

from __future__ import annotations

from collections.abc import Callable

from livepeer.trickle.exceptions import TrickleConnectionError, TrickleTimeout
from livepeer.trickle.http.exchange import MAX_REPLY, HTTPExchange
from livepeer.trickle.protocol.wire import Answer, Headers, classify


class Download(HTTPExchange):
    """One answer that is read while it comes."""

    _trickle: Headers | None = None

    async def wait(self, limit: float, on_head: Callable[[], object] | None = None) -> bool:
        """Wait until the head of the answer is there, or it is over; False after `limit` seconds.

        `on_head` is called as soon as it is there, before this returns: a whole turn of the event
        loop earlier. It is forgotten when this returns.
        """
        if self.parser.head is None:
            self._on_head = on_head
            try:
                return await self.until(self._head_there, limit)
            finally:
                self._on_head = None
        if on_head is not None:
            on_head()
        return True

    def _head_there(self) -> bool:
        return self.parser.head is not None

    @property
    def status(self) -> int:
        return self.parser.head.status if self.parser.head is not None else 0

    @property
    def answer(self) -> Answer:
        head = self.parser.head
        return Answer.LOST if head is None else classify(head.status, closed=self.trickle.closed)

    @property
    def trickle(self) -> Headers:
        if self._trickle is None:
            head = self.parser.head
            if head is None:
                return Headers()
            self._trickle = Headers.parse(head.fields)
        return self._trickle

    @property
    def mime_type(self) -> str:
        head = self.parser.head
        return (head.fields.get("content-type") if head is not None else None) or ""

    @property
    def empty(self) -> bool:
        """Whether the answer has no body, as far as is known."""
        parser = self.parser
        if parser.head is None or parser.pieces:
            return False
        return parser.complete or parser.head.length == 0

    async def read(self, limit: float | None) -> bytes:
        """The bytes since the last read; waits for at least one, b"" at the end.

        Raises `TrickleTimeout` after `limit` seconds of silence, never where that is None; reading
        on is possible then.
        """
        parser = self.parser
        ready = parser.pieces or self.over
        if not ready and not await self.until(lambda: parser.pieces, limit):
            raise TrickleTimeout(f"nothing came for {limit:g} s", url=self.url)
        data = parser.take()
        connection = self._connection
        if connection is not None and connection.paused and parser.buffered < MAX_REPLY:
            connection.resume_reading()
        if not data and self.error is not None:
            raise self.error
        if not data and not parser.complete:
            raise TrickleConnectionError("given up", url=self.url)
        return data

    def unread(self, data: bytes) -> None:
        """Put `data` back: the next read gives it."""
        self.parser.pieces.insert(0, data)
        self.parser.buffered += len(data)

    async def text(self, limit: float) -> str:
        """A short, human text out of an error's body; never raises for a broken one."""
        await self.until(lambda: self.parser.buffered > MAX_REPLY, limit)
        return b"".join(self.parser.pieces)[:MAX_REPLY].decode("utf-8", "replace").strip()
