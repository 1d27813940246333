"""The clients' HTTP behind three verbs; foreign exceptions end here, as a `TrickleError`.

- `Transport.request` asks and reads a small answer.
- `Transport.upload` opens a POST whose body is written piece by piece. Its headers leave at once.
- `Transport.download` asks; the answer is read while it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Mapping, Sequence

from livepeer.trickle.exceptions import ProtocolError, TrickleTimeout
from livepeer.trickle.http.connection import split_url
from livepeer.trickle.http.download import Download
from livepeer.trickle.http.exchange import MAX_REPLY, HTTPExchange, ShortReply, header_lines
from livepeer.trickle.http.pool import Pool
from livepeer.trickle.http.upload import Upload
from livepeer.trickle.types import TLS


class Transport:
    """A pool of connections of one event loop.

    Clients share one for each event loop unless a `Transport` is passed to them; what is passed in
    stays the caller's to close. `headers` go with every request.
    """

    def __init__(self, *, headers: Mapping[str, str] | None = None) -> None:
        # Segments are passed on byte for byte; a proxy that compresses would also hold them back.
        common = {
            "User-Agent": "livepeer-trickle",
            "Accept-Encoding": "identity",
            **(headers or {}),
        }
        self._lines = header_lines(common | dict(headers or {}))
        self._pool = Pool()
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def connections(self) -> int:
        """Connections that are open now, busy or idle."""
        return len(self._pool)

    async def __aenter__(self) -> Transport:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection of the pool."""
        await self._pool.aclose()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        tls: TLS = True,
        connect: float = 10.0,
        limit: float = 15.0,
    ) -> ShortReply:
        """Ask without a body and read the answer, all within `limit` seconds."""
        fields = dict(headers or {})
        if method == "POST":
            fields["Content-Length"] = "0"
        exchange = HTTPExchange(self._pool, self._lines, method, url, fields, tls, connect)
        try:
            if not await exchange.until(lambda: exchange.parser.buffered > MAX_REPLY, limit):
                raise TrickleTimeout(f"no answer within {limit:g} s", url=url)
        finally:
            exchange.abort()
        return exchange.reply()

    def open_ahead(
        self, url: str, *, count: int = 1, tls: TLS = True, connect: float = 10.0
    ) -> None:
        """Begin `count` connections to the server of `url`, for requests that are made soon.

        Nothing is waited for. One that fails raises at the request that would have used it.
        """
        try:
            origin, _ = split_url(url)
        except ValueError as error:
            raise ProtocolError(f"not a URL that can be asked: {error}", url=url) from error
        for _ in range(count):
            self._pool.open_ahead(origin, tls, connect, url)

    def upload(
        self, url: str, *, headers: Mapping[str, str], tls: TLS = True, connect: float = 10.0
    ) -> Upload:
        """Open a POST; its headers are sent now, or as soon as there is a connection."""
        return Upload(self._pool, self._lines, url, headers, tls, connect)

    def download(self, url: str, *, tls: TLS = True, connect: float = 10.0) -> Download:
        """GET `url`; `Download.wait` tells when its headers have come."""
        return Download(self._pool, self._lines, "GET", url, {}, tls, connect)

    # --- one shared pool for each event loop -----------------------------------------------------

    @classmethod
    def lease(cls, transport: Transport | None) -> Transport:
        """The caller's transport, or the one of this event loop; give it back with `release`."""
        loop = asyncio.get_running_loop()
        if transport is not None:
            transport._loop = loop
            return transport
        shared = _shared_by(loop)
        if shared is None:
            shared = cls()
            shared._loop = loop
            _shared[loop] = weakref.ref(shared)
        shared._users += 1
        return shared

    @classmethod
    async def release(cls, transport: Transport) -> None:
        """Give back what `lease` gave; the last user of a shared pool closes it."""
        if transport._left():
            await transport.aclose()

    @classmethod
    def forget(cls, transport: Transport, exchanges: Sequence[HTTPExchange] = ()) -> None:
        """Count a user out that was never closed, and give up its `exchanges`.

        For finalizers, which the collector runs in any thread: the loop does it in its turn.
        """

        def drop() -> None:
            for exchange in exchanges:
                exchange.abort()
            if transport._left():
                transport._pool.abort()

        loop = transport._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it was closed, and its connections with it
                loop.call_soon_threadsafe(drop)

    def _left(self) -> bool:
        """One user less; whether that was the last of a shared pool."""
        loop = asyncio.get_running_loop()
        if _shared_by(loop) is not self:
            return False
        self._users -= 1
        if self._users > 0:
            return False
        del _shared[loop]
        return True


_shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Transport]] = (
    weakref.WeakKeyDictionary()
)
"""Their users hold them: a transport refers to its loop, and would keep it here for ever."""


def _shared_by(loop: asyncio.AbstractEventLoop) -> Transport | None:
    reference = _shared.get(loop)
    return None if reference is None else reference()
