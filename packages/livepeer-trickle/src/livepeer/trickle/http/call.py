"""Any request of HTTP/1.1, with or without a body, whose answer is read while it comes: `HTTPCall`,
and the connections of `HTTPCalls`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, Mapping
from typing import Final, Self, TypeAlias

from livepeer.trickle.exceptions import TrickleConnectionError, TrickleError, TrickleTimeout
from livepeer.trickle.http.buffer import PIECE
from livepeer.trickle.http.connection import ClientConnection, split_url
from livepeer.trickle.http.download import Download
from livepeer.trickle.http.exchange import header_lines
from livepeer.trickle.http.http1 import Fields
from livepeer.trickle.http.pool import Pool
from livepeer.trickle.http.state import ExchangeEvent
from livepeer.trickle.types import TLS

Body: TypeAlias = bytes | AsyncIterable[bytes]
"""What is sent: at once, or piece by piece as it comes."""

_METHOD: Final = re.compile(r"[A-Z][A-Z-]*")
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Requests that tell no length where they have no body."""
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Whose effect is the same however often they arrive (RFC 9110, 9.2.2)."""
_OURS: Final = frozenset({"host", "authorization", "content-length", "transfer-encoding"})
"""Headers that a caller may not set, or only to what they have to be."""


class RequestHeaders:
    """Headers that go with every request, where its caller does not say otherwise."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.lines = header_lines(headers)
        self._all = dict(headers)
        self._names = frozenset(map(str.lower, headers))
        self._rare = self._names | _OURS

    def beside(
        self, headers: Mapping[str, str], url: str, body: Body | None
    ) -> tuple[str, Mapping[str, str]]:
        """The lines of these, and `headers` without what is told anyway.

        Raises `ValueError` for headers that would say something else than what is sent.
        """
        names = [name.lower() for name in headers]
        if self._rare.isdisjoint(names):
            return self.lines, headers
        if len(set(names)) < len(names):
            raise ValueError("one header is given twice")
        given = dict(zip(names, headers.items(), strict=True))
        if "host" in given:
            raise ValueError("the header Host is not for its caller to set: it follows the URL")
        if "authorization" in given and "Authorization" in split_url(url)[0].lines:
            raise ValueError("both the URL and a header tell who asks")
        if "transfer-encoding" in given:
            raise ValueError("the header Transfer-Encoding follows the body")
        if "content-length" in given:
            told = given["content-length"][1]
            if body is None or isinstance(body, bytes):
                del given["content-length"]
                if told != str(len(body or b"")):
                    raise ValueError("the header Content-Length is not the length of the body")
            elif not (told.isascii() and told.isdigit() and len(told) < 19):
                raise ValueError(f"{told[:40]!r} is no length of a body")
        kept = {name: value for name, value in self._all.items() if name.lower() not in given}
        return header_lines(kept), dict(given.values())


class HTTPCall(Download):
    """One request of any method but CONNECT. `wait` for its head, then `read`; `abort` leaves it.

    A body that is bytes leaves with the head where it is small; else piece by piece, as the server
    takes it, `limit` seconds at most for each. One that is an async iterable goes in chunks, or by
    the `Content-Length` that is told. An answer that is whole ends it, as far as it has got.

    What has effects is never sent twice, whatever becomes of the connection that took it.

    Raises `ValueError` or `TypeError` for a request that can't be sent, and `ProtocolError` for a
    URL that is none.
    """

    def __init__(
        self,
        pool: Pool,
        common: RequestHeaders,
        method: str,
        url: str,
        headers: Mapping[str, str],
        tls: TLS,
        connect: float,
        body: Body | None,
        limit: float,
    ) -> None:
        if method == "CONNECT" or not _METHOD.fullmatch(method):
            raise ValueError(f"the method {method!r} can't be sent")
        lines, headers = common.beside(headers, url, body)
        self.sent = False
        """Whether bytes of it have left, so that its server may have seen it."""
        self.bad_body = False
        """Whether it failed by its body: that broke off, or has another length than was told. The
        error's cause says how."""
        self._left: int | None = None
        """Bytes of the body that are still to be sent; None where only its end tells."""
        begin = b""
        if body is None:
            whole = True
            if method not in _WITHOUT_BODY:
                lines += "Content-Length: 0\r\n"
        elif isinstance(body, bytes):
            self._left = len(body)
            lines += f"Content-Length: {self._left}\r\n"
            whole = self._left <= PIECE
            begin = body if whole else b""
        else:
            whole = False
            told = Fields((name.lower(), value) for name, value in headers.items())
            if (length := told.get("content-length")) is not None:
                self._left = int(length)
            else:
                lines += "Transfer-Encoding: chunked\r\n"
        self._body = None if whole else body
        self._once = not whole or method not in _REPEATABLE
        self._patience = limit
        self._sending: asyncio.Task[None] | None = None
        super().__init__(pool, lines, method, url, headers, tls, connect, whole=whole, body=begin)

    @property
    def headers(self) -> Mapping[str, str]:
        """Those of the answer; names match in any case."""
        head = self.parser.head
        return head.fields if head is not None else Fields()

    @property
    def content_length(self) -> int | None:
        """Bytes of the answer's body, where its head tells."""
        head = self.parser.head
        return head.length if head is not None else None

    def _begin(self, connection: ClientConnection) -> None:
        super()._begin(connection)
        self.sent = True
        if self._once:
            self._move(ExchangeEvent.BODY)
        if self._body is not None:
            self._sending = asyncio.create_task(self._send(connection, self._body))

    def _finish(self, event: ExchangeEvent, error: TrickleError | None = None) -> None:
        super()._finish(event, error)
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()

    async def _send(self, connection: ClientConnection, body: Body) -> None:
        failure: TrickleError | None = TrickleConnectionError(
            "the request's body broke off", url=self.url
        )
        try:
            await self._all(connection, body)
            failure = None
        except Exception as error:  # noqa: BLE001 — the caller's: whoever waits is told of it
            assert failure is not None
            failure.__cause__ = error
        finally:
            self._sending = None
            if failure is not None and not self.over:
                self.bad_body = True
                self.abort(failure)

    async def _all(self, connection: ClientConnection, body: Body) -> None:
        """All of the body, as fast as the server takes it, or until the exchange is over."""
        chunked = self._left is None
        if isinstance(body, bytes):
            await self._pieces(connection, body)
        else:
            try:
                async for data in body:
                    await self._pieces(connection, data)
                    if self.over:
                        return
            finally:
                if (close := getattr(body, "aclose", None)) is not None:
                    await close()
        if self._left:
            raise ValueError(f"{self._left:,} bytes less than its Content-Length")
        if not self.over:
            self.whole = True
            if chunked:
                connection.write(b"0\r\n\r\n")

    async def _pieces(
        self, connection: ClientConnection, data: bytes | bytearray | memoryview
    ) -> None:
        view = memoryview(data).cast("B")
        if self._left is not None and len(view) > self._left:
            raise ValueError("more bytes than its Content-Length")
        for start in range(0, len(view), PIECE):
            if self.over:
                return
            piece = view[start : start + PIECE]
            if self._left is None:
                connection.write(b"".join((b"%x\r\n" % len(piece), piece, b"\r\n")))
            else:
                self._left -= len(piece)
                connection.write(piece if isinstance(data, bytes) else bytes(piece))
            if connection.congested:
                try:
                    async with asyncio.timeout(self._patience):
                        await connection.writable()
                except TimeoutError:
                    told = f"the server took nothing for {self._patience:g} s"
                    self.abort(TrickleTimeout(told, url=self.url))


class HTTPCalls:
    """The connections of one event loop, for requests of any kind to anybody.

    `headers` go with every request, where its caller does not say otherwise.
    """

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self._common = RequestHeaders({"Accept-Encoding": "identity", **(headers or {})})
        self._pool = Pool()

    @property
    def connections(self) -> int:
        """Connections that are open now, busy or idle."""
        return len(self._pool)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection, and make no more."""
        await self._pool.aclose()

    def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        tls: TLS = True,
        connect: float = 10.0,
        limit: float = 15.0,
    ) -> HTTPCall:
        """Send a request now, or as soon as there is a connection. Raises as `HTTPCall` does."""
        return HTTPCall(
            self._pool, self._common, method, url, headers or {}, tls, connect, body, limit
        )
