"""One request and its answer: `Exchange`."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from livepeer.trickle.exceptions import (
    ProtocolError,
    TrickleConnectionError,
    TrickleError,
)
from livepeer.trickle.http.connection import TLS, Connection, split_url
from livepeer.trickle.http.http1 import MalformedAnswer, ResponseParser
from livepeer.trickle.http.pool import Pool
from livepeer.trickle.protocol.wire import Answer, Headers, classify
from livepeer.trickle.tls import Pin

_BUFFER: Final = 1024 * 1024
"""Unread bytes of an answer at which its connection is read no further."""

_CLOSING: Final = 5.0
"""Seconds that a connection which was dropped may take to be closed."""

MAX_REPLY: Final = 64 * 1024
"""Longest answer that is read whole."""

_FIELD: Final = re.compile(r"[^\r\n\0]*")


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole, small answer."""

    status: int
    answer: Answer
    trickle: Headers
    text: str

    def __str__(self) -> str:
        return f"{self.status} {shown(self.text)}".rstrip()


def shown(text: str) -> str:
    """The beginning of a server's text, as an error or a log may have it: in one line."""
    line = "".join(each if each.isprintable() else " " for each in text[:200])
    return " ".join(line.split())


def header_lines(headers: Mapping[str, str]) -> str:
    return "".join([_line(name, value) for name, value in headers.items()])


@functools.lru_cache(maxsize=256)
def _line(name: str, value: str) -> str:
    if not name.isascii() or not _FIELD.fullmatch(name + value):
        raise ValueError(f"the header {name!r} can't be sent")
    return f"{name}: {value}\r\n"


class Exchange:
    """One request and its answer, begun at once on an idle connection, else on a new one.

    A connection that was used before may have been closed by the server meanwhile. Where not a byte
    came back and no body was sent, that costs a second connection and nothing else.
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
    ) -> None:
        self.url = url
        self.parser = ResponseParser()
        self.error: TrickleError | None = None
        self.over = False
        """Whether nothing more will come: the answer is whole, the connection broke, or the
        exchange was given up."""
        try:
            self._origin, target = split_url(url)
        except ValueError as error:
            raise ProtocolError(f"not a URL that can be asked: {error}", url=url) from error
        self._head = (
            f"{method} {target} HTTP/1.1\r\n{self._origin.lines}{lines}{header_lines(headers)}\r\n"
        ).encode()
        self._pool = pool
        self._tls = tls
        self._limit = connect
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._touched = False
        self._paused = False
        self._waiters: list[asyncio.Future[None]] = []
        idle = self._pool.take(self._origin, tls)
        if idle is not None:
            self._begin(idle)
        else:
            self._task = asyncio.create_task(self._connect())

    @property
    def sent(self) -> bool:
        """Whether the request has left."""
        return self._connection is not None

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

    def reply(self) -> Reply:
        """The whole answer, or the error that came instead."""
        if self.error is not None:
            raise self.error
        head = self.parser.head
        if head is None:
            raise TrickleConnectionError("no answer came in time", url=self.url)
        trickle = Headers.parse(head.fields)
        return Reply(
            head.status,
            classify(head.status, closed=trickle.closed),
            trickle,
            b"".join(self.parser.pieces)[:MAX_REPLY].decode("utf-8", "replace"),
        )

    def abort(self, error: TrickleError | None = None) -> None:
        """Give it up; its connection is dropped unless the exchange is complete."""
        if not self.over:
            connection = self._connection
            self._finish(error)
            if connection is not None:
                connection.abort()

    async def aclose(self) -> None:
        """Give it up, and leave nothing behind."""
        connection, task = self._connection, self._task
        self.abort()
        if task is not None and not task.done():
            await asyncio.wait((task,))
        if connection is not None and not connection.open:
            await asyncio.wait((connection.lost,), timeout=_CLOSING)

    # --- the connection --------------------------------------------------------------------------

    async def _connect(self) -> None:
        try:
            connection = await self._pool.connect(self._origin, self._tls, self._limit, self.url)
        except TrickleError as error:
            self._finish(error)
            return
        except BaseException as error:
            # Whatever it is, those who wait for this exchange hear of it.
            self._finish(TrickleConnectionError(f"connecting failed: {error!r}", url=self.url))
            raise
        if self.over:
            connection.abort()
        else:
            self._begin(connection)

    def _begin(self, connection: Connection) -> None:
        self._connection = connection
        connection.exchange = self
        connection.write(self._head)
        self._notify()

    def received(self, data: bytes) -> None:
        """Called by the connection."""
        self._touched = True
        parser = self.parser
        try:
            parser.feed(data)
        except MalformedAnswer as error:
            self._malformed(error)
            return
        if parser.complete:
            self._finish(None)
        else:
            if parser.buffered > _BUFFER and not self._paused:
                self._paused = True
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
            self._finish(None)

    def broken(self, why: str) -> None:
        """Called by the connection: it is lost."""
        connection = self._connection
        if isinstance(self._tls, Pin):
            self._tls.lost(self._origin.host, self._origin.port)
        if connection is not None and connection.used and not self._touched and self._repeatable():
            self._connection = None
            connection.exchange = None
            self._task = asyncio.create_task(self._connect())
            return
        self._finish(TrickleConnectionError(why, url=self.url))

    def _repeatable(self) -> bool:
        return not self.over

    def _malformed(self, error: MalformedAnswer) -> None:
        self.abort(ProtocolError(f"the answer is not HTTP: {error}", url=self.url))

    def _finish(self, error: TrickleError | None) -> None:
        if self.over:
            return
        self.over = True
        self.error = error
        connection, self._connection = self._connection, None
        if self._task is not None and not self.sent:
            self._task.cancel()
        if connection is not None:
            connection.exchange = None
            head = self.parser.head
            if self.parser.complete and head is not None and head.keep_alive and self._may_reuse():
                if self._paused:
                    connection.resume_reading()
                self._pool.give(connection)
            else:
                connection.abort()
        self._notify()

    def _may_reuse(self) -> bool:
        return True

    def _notify(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            _wake(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
