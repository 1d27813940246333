"""A request whose answer is read while it comes: `Download`."""

from __future__ import annotations

from collections.abc import Callable

from livepeer.trickle.exceptions import TrickleConnectionError, TrickleTimeout
from livepeer.trickle.http.exchange import MAX_REPLY, Exchange
from livepeer.trickle.protocol.wire import Answer, Headers, classify


class Download(Exchange):
    """One answer that is read while it comes."""

    _trickle: Headers | None = None
    _on_headers: Callable[[], object] | None = None

    async def wait(self, limit: float, on_headers: Callable[[], object] | None = None) -> bool:
        """Wait until the headers are there, or it is over; False after `limit` seconds.

        `on_headers` is called as soon as they are there, before this returns: a whole turn of the
        event loop earlier. It is forgotten when this returns.
        """
        if self.parser.head is None:
            self._on_headers = on_headers
            try:
                return await self.until(self._headers_there, limit)
            finally:
                self._on_headers = None
        if on_headers is not None:
            on_headers()
        return True

    def _headers_there(self) -> bool:
        return self.parser.head is not None

    def _notify(self) -> None:
        on_headers = self._on_headers
        if on_headers is not None and self.parser.head is not None:
            self._on_headers = None
            on_headers()
        super()._notify()

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

    async def read(self, limit: float) -> bytes:
        """What has come since the last read; waits for at least a byte, b"" at the end.

        Raises `TrickleTimeout` after `limit` seconds of silence; reading on is possible then.
        """
        parser = self.parser
        ready = parser.pieces or self.over
        if not ready and not await self.until(lambda: parser.pieces, limit):
            raise TrickleTimeout(f"nothing came for {limit:g} s", url=self.url)
        data = parser.take()
        if self._paused and self._connection is not None and parser.buffered < MAX_REPLY:
            self._paused = False
            self._connection.resume_reading()
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

    def close(self) -> None:
        """Give the connection back if the answer is complete, else drop it."""
        self.abort()
