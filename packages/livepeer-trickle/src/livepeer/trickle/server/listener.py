"""aiohttp's low-level server, with what it leaves out and publishers need."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage

from livepeer.trickle.exceptions import TrickleError
from livepeer.trickle.http.buffer import GATHER, PIECE, ReadBuffer
from livepeer.trickle.server.body import PlainChunks

logger = logging.getLogger(__name__)


def _is_ours(record: logging.LogRecord) -> bool:
    """Not a request that is no HTTP: its sender is told (400), and fills no log with tracebacks."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


logger.addFilter(_is_ours)

_HEAD_END: Final = b"\r\n\r\n"

Store = Callable[..., None]
"""Takes the pieces of a body that came together."""

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

    __slots__ = (
        *("_ahead", "_chunks", "_head", "_listener", "_opened", "_payload", "_secure", "content"),
        *("receiving", "store"),
    )

    def __init__(self, listener: Listener, **options: Any) -> None:
        super().__init__(listener, **options)
        self._listener = listener
        self._opened: asyncio.Transport | None = None
        self._secure = False
        self._head: asyncio.TimerHandle | None = None
        self._ahead = b""
        """The end of what came before: a head may end across two reads."""
        self._payload: StreamReader | None = None
        """The body that is coming, or came last."""
        self._chunks: PlainChunks | None = None
        """Takes it, as long as its chunks are plain."""
        self.content: StreamReader | None = None
        """The body of the latest request."""
        self.receiving = False
        """A handler is storing it."""
        self.store: Store | None = None
        """Where it goes without its handler."""

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
        if self._secure:
            return buffer.secure(sizehint)
        return buffer.plain(PIECE if self._chunks is None else GATHER)

    def buffer_updated(self, nbytes: int) -> None:
        if self._chunks is None:
            self.data_received(self._listener.buffer.take(nbytes))
        else:
            self._chunks_received(self._listener.buffer.view(nbytes))

    def data_received(self, data: bytes) -> None:
        # aiohttp's parser is given a head to its last byte: where that makes a message whole, the
        # parser stands at the beginning of the body.
        while self._chunks is None and (end := self._end_of_head(data)):
            self._parse(data[: end - 1])
            alone = not (self._messages or self._reading_paused)
            self._parse(data[end - 1 : end])
            self._ahead = b""
            if self._messages:
                self._message_begun(*self._messages[-1], alone)
            data = data[end:]
            if not data:
                return
        if self._chunks is None:
            self._ahead = (self._ahead + data[-3:])[-3:]
            self._parse(data)
        elif data:
            self._chunks_received(memoryview(data))

    def _end_of_head(self, data: bytes) -> int:
        """Where a head ends in `data`; 0 where none does, or amid a body that aiohttp reads."""
        if self._payload is not None and not self._payload.is_eof():
            return 0
        across = (self._ahead + data[:3]).find(_HEAD_END)
        if across >= 0:
            return across + len(_HEAD_END) - len(self._ahead)
        return data.find(_HEAD_END) + len(_HEAD_END) if _HEAD_END in data else 0

    def _message_begun(self, message: Any, payload: StreamReader, alone: bool) -> None:
        self._payload = payload
        if (
            alone  # or the parser may hold back bytes
            and isinstance(message, RawRequestMessage)
            and message.method == "POST"
            and message.chunked
            and message.compression is None
            and not (message.upgrade or payload.is_eof())
        ):
            payload.begin_http_chunk_receiving()  # as the parser does for those that it takes
            self._chunks = PlainChunks()

    def _chunks_received(self, data: memoryview) -> None:
        chunks, payload = self._chunks, self._payload
        assert chunks is not None and payload is not None
        pieces = chunks.feed(data)
        if pieces and not (payload.is_eof() or payload.exception()):
            if self.store is not None:
                try:
                    self.store(*pieces)
                except TrickleError as error:
                    payload.set_exception(error)
            else:
                for piece in pieces:
                    payload.feed_data(piece)
        if chunks.rest is not None:
            self._chunks = None
            self._parse(chunks.rest)

    def _parse(self, data: bytes) -> None:
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
        self.buffer = ReadBuffer(GATHER)

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


def begin(request: web.BaseRequest) -> None:
    """A handler begins with a request. In somebody's application this is nothing."""
    protocol = request.protocol
    if isinstance(protocol, ServerConnection):
        protocol.began(request.content)


class receive:
    """`with receive(request) as body`: the body is being stored. `body.goes_to(store)` lets what
    comes from now on, and is plain, go there at once; the rest comes by the request's content.

    In an application this is nothing."""

    __slots__ = ("_connection", "_content")

    def __init__(self, request: web.BaseRequest) -> None:
        protocol = request.protocol
        self._connection = protocol if isinstance(protocol, ServerConnection) else None
        self._content = request.content

    def __enter__(self) -> receive:
        if self._connection is not None:
            self._connection.receiving = True
        return self

    def goes_to(self, store: Store) -> None:
        """`store` is called in the turn of the loop that reads; a `TrickleError` that it raises is
        raised by the content."""
        if self._connection is not None:
            self._connection.store = store

    def __exit__(self, *exc_info: object) -> None:
        if self._connection is not None:
            self._connection.receiving = False
            self._connection.store = None
        if self._content.exception() is not None:
            self._content.feed_eof()  # or aiohttp reads on after the answer, and reports the error
