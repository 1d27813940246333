"""aiohttp's low-level server, with what it leaves out and publishers need; where it listens."""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import suppress
from typing import Any, Final, cast

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from livepeer.trickle.http.buffer import PIECE, ReadBuffer
from livepeer.trickle.listening import stop_listening

logger = logging.getLogger(__name__)


def _is_ours(record: logging.LogRecord) -> bool:
    """Not a request that is no HTTP: its sender is told (400), and fills no log with tracebacks."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


logger.addFilter(_is_ours)

HEAD: Final = 30.0
"""Seconds that the head of a connection's first request may take."""

_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 21\r\nConnection: close\r\n\r\nToo many connections\n"
)


def abort(transport: asyncio.BaseTransport) -> None:
    """Drop a connection, also one that is closing."""
    # A TLS one that was closed twice cannot be dropped in Python 3.11.2, Debian 12's: asyncio has
    # let go of it. It ends after asyncio's own limit for a TLS goodbye.
    with suppress(AttributeError):
        cast("asyncio.Transport", transport).abort()


class ServerStops(ConnectionError):
    """The server stops, and does not wait for the end of a body that may stay open for long."""


class ServerConnection(web.RequestHandler, asyncio.BufferedProtocol):
    """One connection. While a segment's body is received, its handler hears of a body that breaks:
    aiohttp tells a handler nothing of an ill-formed chunk, and hangs up on a client that
    half-closes before it can be answered. Both are a publisher that dropped, and get a 500."""

    __slots__ = ("_head", "_listener", "_opened", "_secure", "content", "receiving")

    def __init__(self, listener: Listener, **options: Any) -> None:
        super().__init__(listener, **options)
        self._listener = listener
        self._opened: asyncio.Transport | None = None
        self._secure = False
        self._head: asyncio.TimerHandle | None = None
        self.content: StreamReader | None = None
        """The body of the latest request."""
        self.receiving = False
        """A handler is storing it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opened = cast("asyncio.Transport", transport)
        self._secure = transport.get_extra_info("sslcontext") is not None
        self._listener.opened(self._opened)
        # aiohttp limits the time between two requests, and no time before the first.
        loop = asyncio.get_running_loop()
        self._head = loop.call_later(HEAD, abort, self._opened)

    def began(self, content: StreamReader) -> None:
        """A request's head is there."""
        self.content = content
        self._told()

    def _told(self) -> None:
        head, self._head = self._head, None
        if head is not None:
            head.cancel()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._told()
        super().connection_lost(exc)
        if self._opened is not None:
            self._listener.lost(self._opened)

    def get_buffer(self, sizehint: int) -> memoryview:
        buffer = self._listener.buffer
        return buffer.secure(sizehint) if self._secure else buffer.plain(PIECE)

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self._listener.buffer.take(nbytes))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # A message can't follow a body that has not ended: it is the parser's complaint.
        if self.receiving and self._messages:
            self._break_off(ConnectionResetError("the body is ill-formed"))

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp asks for it after each read of a body, and has its parser look for nothing.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # as asyncio.Protocol has it
        if self.transport is None or self._secure:
            return None  # TLS can't be half-closed
        error = ConnectionResetError("the client ended the body half-way")
        return self.receiving and self._break_off(error)

    def interrupt(self) -> None:
        """Wait for no more of the body."""
        if self.receiving:
            self._break_off(ServerStops("the server stops"))
        elif self.content is not None:
            self.content.feed_eof()  # aiohttp reads on for a while after an early answer

    def _break_off(self, error: ConnectionError) -> bool:
        if self.content is None or self.content.is_eof():
            return False
        self.content.set_exception(error)
        return True


class Refusal(asyncio.Protocol):
    """A connection over the limit: it is told, and ended, before a byte of it is read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writing = cast("asyncio.Transport", transport)
        writing.write(_FULL)
        writing.close()


class Listener(web.Server):
    """Makes those connections, `most` at one time."""

    def __init__(self, *args: Any, most: int, **kwargs: Any) -> None:
        kwargs = {"logger": logger, **kwargs}
        super().__init__(*args, **kwargs)
        self._most = most
        self._options = {k: v for k, v in kwargs.items() if k != "handler_cancellation"}
        self._open: set[asyncio.Transport] = set()
        self._aborting = False
        self.buffer = ReadBuffer(PIECE)

    def __call__(self) -> web.RequestHandler:
        if len(self._open) >= self._most:
            return cast("web.RequestHandler", Refusal())
        return ServerConnection(self, loop=self._loop, **self._options)

    def opened(self, transport: asyncio.Transport) -> None:
        self._open.add(transport)
        if self._aborting:
            abort(transport)  # it was accepted while the server stopped

    def lost(self, transport: asyncio.Transport) -> None:
        self._open.discard(transport)

    async def abort(self) -> None:
        """Drop the connections that are left: aiohttp closes them, which waits for ever where the
        client has left without reading."""
        self._aborting = True
        for transport in list(self._open):
            abort(transport)
        for _ in range(3):  # accepted, told of it, closed
            await asyncio.sleep(0)

    def interrupt(self) -> None:
        """Take no more bodies; who still sends one is answered."""
        for connection in self.connections:
            if isinstance(connection, ServerConnection):
                connection.interrupt()


class Site(web.BaseSite):
    """Listens where `loop.create_server` is told to (`host` and `port`, or `sock`).

    aiohttp's own sites, and `asyncio.start_server`, forget a server that listens already if they
    are cancelled as it begins. This one is closed by `stop`, or the runner's `cleanup`.
    """

    __slots__ = ("_where",)

    def __init__(
        self, runner: web.BaseRunner, *, ssl_context: ssl.SSLContext | None = None, **where: Any
    ) -> None:
        super().__init__(runner, ssl_context=ssl_context)
        self._where = where

    @property
    def name(self) -> str:
        """For aiohttp's own messages."""
        return f"livepeer at {self._where}"

    async def start(self) -> None:
        """Listen. Raises `OSError` where the address can't be had."""
        await super().start()
        handler = self._runner.server
        assert handler is not None
        server = await asyncio.get_running_loop().create_server(
            handler,
            ssl=self._ssl_context,
            backlog=self._backlog,
            start_serving=False,
            **self._where,
        )
        self._server = server
        await server.start_serving()

    async def stop(self) -> None:
        """Listen no more; connections go on."""
        if self._server is not None:
            await stop_listening(self._server)
        await super().stop()


def begin(request: web.BaseRequest) -> None:
    """A handler begins with a request. In somebody's application this is nothing."""
    protocol = request.protocol
    if isinstance(protocol, ServerConnection):
        protocol.began(request.content)


class receive:
    """`with receive(request)`: the body is being stored. It is nothing in an application."""

    __slots__ = ("_connection", "_content")

    def __init__(self, request: web.BaseRequest) -> None:
        protocol = request.protocol
        self._connection = protocol if isinstance(protocol, ServerConnection) else None
        self._content = request.content

    def __enter__(self) -> None:
        if self._connection is not None:
            self._connection.receiving = True

    def __exit__(self, *exc_info: object) -> None:
        if self._connection is not None:
            self._connection.receiving = False
        if self._content.exception() is not None:
            self._content.feed_eof()  # or aiohttp reads on after the answer, and reports the error
