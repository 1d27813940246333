"""A server that obeys a script: `ScriptedServer`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from livepeer.trickle.testing.streams import StreamServer

if TYPE_CHECKING:
    from typing import Self


class Exchange:
    """One request, as it came, and the way to answer it."""

    def __init__(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        """By lower-case name."""
        self._reader = reader
        self._writer = writer
        self.ended = headers.get("transfer-encoding") != "chunked"
        """Whether the request's body has ended cleanly."""
        self._answered = asyncio.Event()
        self._keep = True
        self._chunked = False

    def __repr__(self) -> str:
        return f"<Exchange {self.method} {self.path}>"

    async def piece(self) -> bytes:
        """The next chunk of the request's body, b"" at its clean end.

        Raises `asyncio.IncompleteReadError` where the client left before that.
        """
        if self.ended:
            return b""
        size = int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16)
        data = (await self._reader.readexactly(size + 2))[:-2]
        self.ended = not size
        return data

    async def body(self) -> bytes:
        """The rest of the request's body."""
        pieces = []
        while piece := await self.piece():
            pieces.append(piece)
        return b"".join(pieces)

    async def gone(self) -> None:
        """Wait until the client has left the connection."""
        with contextlib.suppress(OSError):
            while await self._reader.read(65536):
                pass

    async def provisional(self) -> None:
        """Send `100 Continue`."""
        self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await self._writer.drain()

    async def answer(
        self,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = b"",
        *,
        reason: str = "Scripted",
    ) -> None:
        """Answer. A body of None stays open, in chunks: `send` goes on, `end` or `cut` ends it."""
        fields = dict(headers or {})
        names = {name.lower() for name in fields}
        self._chunked = body is None
        if self._chunked and "content-length" not in names:
            fields["Transfer-Encoding"] = "chunked"
        elif body is not None and not names & {"content-length", "transfer-encoding"}:
            fields["Content-Length"] = str(len(body))
        head = f"HTTP/1.1 {status} {reason}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._writer.write(head.encode("latin-1") + b"\r\n" + (body or b""))
        await self._writer.drain()
        self._keep = fields.get("Connection", "").lower() != "close"
        if not self._chunked:
            self._answered.set()

    async def send(self, data: bytes) -> None:
        """More of an open body."""
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writer.drain()

    async def end(self) -> None:
        """End an open body."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()
        self._answered.set()

    def cut(self) -> None:
        """Break the connection."""
        self._keep = False
        self._writer.transport.abort()
        self._answered.set()

    async def close(self) -> None:
        """Close the connection in good order."""
        self._keep = False
        self._writer.close()
        self._answered.set()


class ScriptedServer:
    """An HTTP/1.1 server whose answers are made by the test, one request at a time.

    ::

        async with ScriptedServer() as server:
            client = TrickleSubscriber(server.url + "/cam")
            ...
            exchange = await server.request()
            assert exchange.path == "/cam/-1"
            await exchange.answer(470, {"Lp-Trickle-Latest": "3"})
    """

    def __init__(self, *, limit: float = 10.0) -> None:
        self.limit = limit
        self.connections = 0
        """Connections accepted so far."""
        self._server = StreamServer(self._serve)
        self._requests: asyncio.Queue[Exchange] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._server.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def waiting(self) -> int:
        """Requests that have come and were not taken."""
        return self._requests.qsize()

    async def request(self, method: str | None = None, path: str | None = None) -> Exchange:
        """The next request; it has to be `method` and `path` where those are given."""
        exchange = await asyncio.wait_for(self._requests.get(), self.limit)
        if method not in (None, exchange.method) or path not in (None, exchange.path):
            raise AssertionError(f"expected {method} {path}, got {exchange!r}")
        return exchange

    async def quiet(self, seconds: float = 0.1) -> None:
        """Assert that no request comes for so long."""
        try:
            exchange = await asyncio.wait_for(self._requests.get(), seconds)
        except TimeoutError:
            return
        raise AssertionError(f"expected no request, got {exchange!r}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while (exchange := await _read_head(reader, writer)) is not None:
            self._requests.put_nowait(exchange)
            await exchange._answered.wait()
            if not exchange._keep:
                break
            await exchange.body()


async def _read_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ")
    headers = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Exchange(method, path, headers, reader, writer)
