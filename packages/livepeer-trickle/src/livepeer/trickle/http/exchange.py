"""One request and its answer: `HTTPExchange`."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ssl import SSLContext
from typing import Final

from livepeer.trickle.exceptions import ProtocolError, TrickleConnectionError, TrickleError
from livepeer.trickle.http.connection import ClientConnection, split_url
from livepeer.trickle.http.http1 import MalformedAnswer, ResponseParser
from livepeer.trickle.http.pool import Pool
from livepeer.trickle.http.state import TRANSITIONS, ExchangeEvent, ExchangeState
from livepeer.trickle.protocol.wire import Answer, Headers, classify
from livepeer.trickle.types import TLS

BUFFER: Final = 1024 * 1024
"""Unread bytes of an answer at which its connection is read no further."""

MAX_REPLY: Final = 64 * 1024
"""Longest answer that is read whole, in bytes."""

_CLOSING: Final = 5.0
"""Seconds that a connection which was dropped may take to be closed."""

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[^\r\n\0]*")
_SHORT: Final = 64
"""Longest value of a header whose line is remembered: longer ones are made for one request."""


@dataclass(frozen=True, slots=True)
class ShortReply:
    """A whole, small answer."""

    status: int
    answer: Answer
    trickle: Headers
    text: str

    def __str__(self) -> str:
        return f"{self.status} {shown(self.text)}".rstrip()


def shown(text: str) -> str:
    """The beginning of a server's text, fit for an error or a log: printable, in one line."""
    line = "".join(each if each.isprintable() else " " for each in text[:200])
    return " ".join(line.split())


def header_lines(headers: Mapping[str, str]) -> str:
    """Headers as the lines of a request. Raises `ValueError` where one could become two."""
    return "".join(
        [
            _known_line(name, value) if len(value) <= _SHORT else _line(name, value)
            for name, value in headers.items()
        ]
    )


def _line(name: str, value: str) -> str:
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError(f"the header {name!r} can't be sent")
    return f"{name}: {value}\r\n"


_known_line = functools.lru_cache(maxsize=256)(_line)


class HTTPExchange:
    """One request and its answer, begun at once on an idle connection, else on a new one.

    `state` tells how far it is; `http/state.py` has all transitions. A connection that was used
    before may have been closed by the server meanwhile. If not a byte came back and no body was
    sent, that costs a second connection and nothing else.

    `whole` is False for a request whose body follows; `body` is one that leaves with the head.
    """

    def __init__(
        self,
        pool: Pool,
        lines: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        tls: TLS,
        connect: float,
        *,
        whole: bool = True,
        body: bytes = b"",
    ) -> None:
        self.url = url
        self.parser = ResponseParser(bodiless=method == "HEAD")
        self.state = ExchangeState.CONNECTING
        self.error: TrickleError | None = None
        self.whole = whole
        """Whether all of the request has left, or leaves with its head."""
        try:
            self._origin, target = split_url(url)
        except ValueError as error:
            raise ProtocolError(f"not a URL that can be asked: {error}", url=url) from error
        self._request = (
            f"{method} {target} HTTP/1.1\r\n{self._origin.lines}{lines}{header_lines(headers)}\r\n"
        ).encode() + body
        self._pool = pool
        self._tls = tls
        self._limit = connect
        self._connection: ClientConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._on_head: Callable[[], object] | None = None
        self._on_over: Callable[[], object] | None = None
        idle = pool.take(self._origin, tls)
        if idle is not None:
            self._begin(idle)
        else:
            self._connecting = asyncio.create_task(self._connect())

    @property
    def over(self) -> bool:
        """Whether nothing more will come: the answer is whole, or lost."""
        return self.state is ExchangeState.DONE or self.state is ExchangeState.LOST

    async def until(self, condition: Callable[[], object], limit: float | None = None) -> bool:
        """Wait until `condition()` or the end of the exchange; False after `limit` seconds.

        Being cancelled does not disturb the exchange. (`asyncio.timeout` would cost more than the
        rest of the way of a small segment.)
        """
        loop = asyncio.get_running_loop()
        deadline = None if limit is None else loop.time() + limit
        while not (self.over or condition()):
            waiter = loop.create_future()
            timer = None
            if deadline is not None:
                if loop.time() >= deadline:
                    return False
                timer = loop.call_at(deadline, _wake, waiter)
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if timer is not None:
                    timer.cancel()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return True

    def reply(self) -> ShortReply:
        """The whole answer. Raises the error that came instead."""
        if self.error is not None:
            raise self.error
        head = self.parser.head
        if head is None:
            raise TrickleConnectionError("no answer came in time", url=self.url)
        trickle = Headers.parse(head.fields)
        return ShortReply(
            head.status,
            classify(head.status, closed=trickle.closed),
            trickle,
            b"".join(self.parser.pieces)[:MAX_REPLY].decode("utf-8", "replace"),
        )

    def abort(self, error: TrickleError | None = None) -> None:
        """Give it up; its connection is dropped. Nothing happens if it is over."""
        self._finish(ExchangeEvent.LOSS, error)

    async def aclose(self) -> None:
        """Give it up, and leave nothing behind."""
        connection, connecting = self._connection, self._connecting
        self.abort()
        if connecting is not None and not connecting.done():
            await asyncio.wait((connecting,))
        if connection is not None and not connection.open:
            await asyncio.wait((connection.lost,), timeout=_CLOSING)

    # --- the connection --------------------------------------------------------------------------

    async def _connect(self) -> None:
        try:
            connection = await self._pool.connect(self._origin, self._tls, self._limit, self.url)
        except TrickleError as error:
            self.abort(error)
            return
        except BaseException as error:
            # Whatever it is, those who wait for this exchange hear of it.
            self.abort(TrickleConnectionError(f"connecting failed: {error!r}", url=self.url))
            raise
        if self.over:
            connection.abort()
        else:
            self._begin(connection)

    def _begin(self, connection: ClientConnection) -> None:
        self._move(ExchangeEvent.CONNECTED)
        self._connection = connection
        connection.carry(self, self._request)
        self._notify()

    def received(self, data: bytes) -> None:
        """Called by the connection: bytes of the answer."""
        parser = self.parser
        try:
            parser.feed(data)
        except MalformedAnswer as error:
            self.abort(ProtocolError(f"the answer is not HTTP: {error}", url=self.url))
            return
        if parser.complete:
            self._finish(ExchangeEvent.COMPLETE)
            return
        if self.state is not ExchangeState.ANSWERED:
            if parser.head is not None:
                self._move(ExchangeEvent.HEAD)
            elif self.state is ExchangeState.SENT:
                self._move(ExchangeEvent.BYTES)
        if parser.buffered > BUFFER:
            assert self._connection is not None
            self._connection.pause_reading()
        self._notify()

    def ended(self) -> None:
        """Called by the connection: the server sends no more."""
        try:
            self.parser.eof()
        except MalformedAnswer as error:
            self.broken(str(error))
        else:
            self._finish(ExchangeEvent.COMPLETE)

    def broken(self, why: str) -> None:
        """Called by the connection: it is lost."""
        connection = self._connection
        if not isinstance(self._tls, bool | SSLContext):
            self._tls.lost(self._origin.host, self._origin.port)
        if self.state is ExchangeState.SENT and connection is not None and connection.used:
            self._move(ExchangeEvent.STALE)
            self._connection = None
            connection.let_go()
            self._connecting = asyncio.create_task(self._connect())
            return
        self.abort(TrickleConnectionError(why, url=self.url))

    def _move(self, event: ExchangeEvent) -> None:
        self.state = TRANSITIONS[self.state][event]

    def _finish(self, event: ExchangeEvent, error: TrickleError | None = None) -> None:
        """Enter a last state: the connection goes back to the pool if both sides are through."""
        if self.over:
            return
        if self._connecting is not None and self._connection is None:
            self._connecting.cancel()
        self._move(event)
        self.error = error
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.let_go()
            head = self.parser.head
            # Answered before the request was whole: the server wants no more of it.
            if event is ExchangeEvent.COMPLETE and self.whole and head and head.keep_alive:
                self._pool.give(connection)
            else:
                connection.abort()
        self._notify()
        on_over, self._on_over = self._on_over, None
        if on_over is not None:
            on_over()

    def _notify(self) -> None:
        on_head = self._on_head
        if on_head is not None and self.parser.head is not None:
            self._on_head = None
            on_head()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            _wake(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
