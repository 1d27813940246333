"""The connections of one event loop: what aiohttp's client would be, for trickle's needs.

A request leaves in one piece as soon as it is made: no task for each of them, no header held back.
That is why this is here and aiohttp's client is not: `specs/trickle.md`, "Connections".
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from typing import Any, Final

from livepeer.trickle.exceptions import (
    CertificateError,
    ProtocolError,
    TrickleConnectionError,
    TrickleError,
    TrickleTimeout,
    public_url,
)
from livepeer.trickle.http.buffer import PIECE, ReadBuffer
from livepeer.trickle.http.connection import ClientConnection, Key, Origin
from livepeer.trickle.types import TLS

_IDLE: Final = 15.0
"""Seconds after which an idle connection is not used again: servers close theirs after a while, and
a request that meets such a close has to be made twice, or fails where it has effects."""
_QUIET: Final = 0.1
"""Seconds after which an idle connection is looked at before it is used: its server may have closed
it while the event loop was busy."""


class Pool:
    """The connections of one event loop, idle ones by where they lead and whom they trust."""

    def __init__(self) -> None:
        self._all: set[ClientConnection] = set()
        self._idle: dict[Key, list[ClientConnection]] = {}
        self._coming: dict[Key, list[asyncio.Task[ClientConnection]]] = {}
        """Connections on their way that no request waits for yet."""
        self._buffer = ReadBuffer(PIECE)
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._all)

    def take(self, origin: Origin, tls: TLS) -> ClientConnection | None:
        """An idle connection, the one used last; None if a new one has to be made."""
        idle = self._idle.get((origin, tls))
        now = asyncio.get_running_loop().time()
        while idle:
            connection = idle.pop()
            rested = now - connection.idle_since
            if connection.open and rested <= _IDLE:
                if rested < _QUIET or not connection.spoken:
                    return connection
            connection.abort()
        return None

    def give(self, connection: ClientConnection) -> None:
        """Keep a connection whose exchange is complete."""
        if not connection.open:
            return
        if self._closed:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.rest(loop.time())
        self._idle.setdefault(connection.key, []).append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(_IDLE, self._sweep_idle, loop)

    def _sweep_idle(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what has been idle for too long, and come again for what has not."""
        oldest = loop.time() - _IDLE
        kept = [each for idle in self._idle.values() for each in idle]
        for connection in kept:
            if connection.idle_since <= oldest:
                connection.abort()
        since = [each.idle_since for each in kept if each.idle_since > oldest]
        self._sweep = loop.call_at(min(since) + _IDLE, self._sweep_idle, loop) if since else None

    def open_ahead(self, origin: Origin, tls: TLS, limit: float, url: str) -> None:
        """Begin a connection for the next request that finds none. A failure is that request's, or
        nobody's."""
        key = (origin, tls)
        task = asyncio.create_task(self._connect(origin, tls, limit, url))
        self._coming.setdefault(key, []).append(task)

        def done(task: asyncio.Task[ClientConnection]) -> None:
            if not self._take_coming(key, task):
                return  # a request waits for it
            if not task.cancelled() and task.exception() is None:
                self.give(task.result())

        task.add_done_callback(done)

    async def connect(self, origin: Origin, tls: TLS, limit: float, url: str) -> ClientConnection:
        """A connection that was opened ahead, or a new one. Every foreign error ends here."""
        if coming := self._coming.get((origin, tls)):
            task = coming[0]
            self._take_coming((origin, tls), task)
            try:
                return await task
            except asyncio.CancelledError:
                if task.done() and not task.cancelled() and task.exception() is None:
                    self.give(task.result())  # it came as the request was given up
                raise
        return await self._connect(origin, tls, limit, url)

    async def _connect(self, origin: Origin, tls: TLS, limit: float, url: str) -> ClientConnection:
        """A new connection, whose server is trusted."""
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {}
        if origin.secure:
            options.update(ssl=_context(tls), server_hostname=origin.host)
        if isinstance(loop, asyncio.BaseEventLoop) and not _is_address(origin.host):
            # Several addresses are tried together, lest a dead one takes all the time.
            # uvloop does not know the word.
            options["happy_eyeballs_delay"] = 0.25
        try:
            async with asyncio.timeout(limit):
                _, connection = await loop.create_connection(
                    lambda: ClientConnection(self._left, (origin, tls), self._buffer),
                    *(origin.host, origin.port),
                    **options,
                )
        except TimeoutError as error:
            raise TrickleTimeout(f"no connection within {limit:g} s", url=url) from error
        except ssl.SSLCertVerificationError as error:
            raise CertificateError(
                f"the server's certificate can't be verified: {error.verify_message}", url=url
            ) from error
        except OSError as error:
            if not isinstance(tls, bool | ssl.SSLContext):
                tls.lost(origin.host, origin.port)
            raise TrickleConnectionError(str(error) or type(error).__name__, url=url) from error
        except ValueError as error:
            raise ProtocolError(f"{origin.host!r} is no host name: {error}", url=url) from error
        self._all.add(connection)
        try:
            if self._closed:
                raise TrickleConnectionError("its transport was closed", url=url)
            if origin.secure and not isinstance(tls, bool | ssl.SSLContext):
                connection.check(tls, origin)
            if not connection.open:
                raise TrickleConnectionError("the server closed the connection", url=url)
        except TrickleError as error:
            self._all.discard(connection)
            connection.abort()
            error.url = public_url(url)
            raise
        return connection

    def _take_coming(self, key: Key, task: asyncio.Task[ClientConnection]) -> bool:
        """Whether it was still nobody's; it is the caller's now."""
        coming = self._coming.get(key, [])
        if task not in coming:
            return False
        coming.remove(task)
        if not coming:
            del self._coming[key]
        return True

    def abort(self) -> list[asyncio.Future[Any]]:
        """Drop every connection; returns a future for each, done when its socket is closed."""
        self._closed = True
        self._idle.clear()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        coming = [task for tasks in self._coming.values() for task in tasks]
        for task in coming:
            task.cancel()
        dropped = list(self._all)
        for connection in dropped:
            connection.abort()
        return [*coming, *(connection.lost for connection in dropped)]

    async def aclose(self) -> None:
        """Drop every connection and wait until its socket is closed."""
        if lost := self.abort():
            await asyncio.wait(lost, timeout=5)

    def _left(self, connection: ClientConnection) -> None:
        self._all.discard(connection)
        idle = self._idle.get(connection.key)
        if idle and connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(connection.key, None)


def _is_address(host: str) -> bool:
    return host == "localhost" or ":" in host or host.replace(".", "").isdigit()


@functools.cache
def _verifying() -> ssl.SSLContext:
    return ssl.create_default_context()


@functools.cache
def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(tls: TLS) -> ssl.SSLContext:
    if isinstance(tls, ssl.SSLContext):
        return tls
    return _verifying() if tls is True else _unverified()
