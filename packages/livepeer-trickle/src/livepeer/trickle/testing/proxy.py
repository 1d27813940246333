"""A TCP proxy that fails on demand: `FaultProxy`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from livepeer.trickle.testing.streams import StreamServer

if TYPE_CHECKING:
    from typing import Self


_METHODS = (b"GET ", b"POST ", b"DELETE ", b"HEAD ", b"PUT ", b"OPTIONS ")
_BLOCK = 64 * 1024


class FaultProxy:
    """Passes bytes between clients and the server at `upstream`, until it is told to fail.

    ::

        async with FaultProxy(server.url) as proxy:
            url = proxy.rewrite(server.channel_url("cam"))
            proxy.cut()                       # every connection breaks, now
            proxy.answer(503, times=3)        # the next three requests get this instead
            proxy.stall(); proxy.resume()     # connections live, nothing passes
            proxy.delay = 0.05                # seconds added to each block, both ways
            proxy.cut_after(1000)             # 1000 more bytes pass to the client, then a cut
            proxy.half_close()                # the server's side says that it has ended
            await proxy.refuse(); await proxy.accept()     # the server is away, and back

    `upstream` may be assigned while it runs: a server that restarted elsewhere.
    A block that begins with the name of an HTTP method counts as a request, so bodies sent through
    it should not begin so.
    """

    def __init__(self, upstream: str, *, host: str = "127.0.0.1") -> None:
        self.upstream = upstream
        self.delay = 0.0
        self.requests = 0
        """Requests seen so far."""
        self.accepted = 0
        """Connections accepted so far."""
        self._host = host
        self._port = 0
        self._server: StreamServer | None = None
        self._pairs: set[_Tunnel] = set()
        self._flow = asyncio.Event()
        self._flow.set()
        self._answers: list[tuple[bytes, Callable[[str, str], bool]]] = []
        self._budget: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    @property
    def url(self) -> str:
        """The proxy's own `http://host:port`."""
        return f"http://{self._host}:{self._port}"

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._pairs)

    def rewrite(self, url: str) -> str:
        """`url` of the server as a URL through this proxy."""
        parts = urlsplit(url)
        return parts._replace(scheme="http", netloc=f"{self._host}:{self._port}").geturl()

    async def accept(self) -> None:
        """Listen (again), on the same port."""
        if self._server is None:
            self._server = StreamServer(self._serve, host=self._host, port=self._port)
            await self._server.start()
            self._port = self._server.port

    async def refuse(self) -> None:
        """Refuse new connections and cut those that are open."""
        server, self._server = self._server, None
        self.cut()
        if server is not None:
            await server.stop()

    async def aclose(self) -> None:
        """Stop listening and cut every connection."""
        self.resume()
        await self.refuse()

    def cut(self) -> None:
        """Break every open connection, without a farewell."""
        for pair in tuple(self._pairs):
            pair.abort()

    def cut_after(self, size: int, *, to: str = "client") -> None:
        """Let `size` more bytes pass to the "client" or to the "server", then cut all."""
        if to not in ("client", "server"):
            raise ValueError(f"bytes pass to the client or to the server, not to {to!r}")
        self._budget[to] = size

    def stall(self) -> None:
        """Pass nothing, either way, until `resume`."""
        self._flow.clear()

    def resume(self) -> None:
        """End a `stall`."""
        self._flow.set()

    def half_close(self) -> None:
        """Tell every client that the server will send no more; the other way stays open."""
        for pair in tuple(self._pairs):
            pair.half_close()

    def answer(
        self,
        status: int,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        times: int = 1,
        match: Callable[[str, str], bool] = lambda method, path: True,
    ) -> None:
        """Answer the next `times` requests that `match(method, path)` in the server's place."""
        fields = {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}
        head = f"HTTP/1.1 {status} Fault\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._answers += [(head.encode() + b"\r\n" + body, match)] * times

    # --- inside ----------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        pair = _Tunnel(task, writer)
        self._pairs.add(pair)
        self.accepted += 1
        try:
            await self._run(pair, reader, writer)
        finally:
            self._pairs.discard(pair)
            pair.close()

    async def _run(
        self, pair: _Tunnel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        parts = urlsplit(self.upstream)
        up_reader, up_writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        pair.upstream = up_writer
        ways = (
            asyncio.ensure_future(self._pump("server", reader, up_writer, writer)),
            asyncio.ensure_future(self._pump("client", up_reader, writer, writer)),
        )
        try:
            # The end of one way ends both: a half-open connection helps no HTTP client.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            for way in ways:
                if not way.cancelled():
                    way.exception()

    async def _pump(
        self,
        to: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
    ) -> None:
        while block := await reader.read(_BLOCK):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._flow.wait()
            if to == "server" and block.startswith(_METHODS):
                self.requests += 1
                canned = self._canned(block)
                if canned is not None:
                    client.write(canned)
                    await client.drain()
                    return
            budget = self._budget.get(to)
            if budget is not None:
                if len(block) >= budget:
                    del self._budget[to]
                    writer.write(block[:budget])
                    await writer.drain()
                    self.cut()
                    return
                self._budget[to] = budget - len(block)
            writer.write(block)
            await writer.drain()

    def _canned(self, block: bytes) -> bytes | None:
        method, path = block.split(b"\r\n", 1)[0].decode("latin-1").split(" ")[:2]
        for position, (answer, match) in enumerate(self._answers):
            if match(method, path):
                del self._answers[position]
                return answer
        return None


class _Tunnel:
    """One connection of a client, and the one that was made to the server for it."""

    def __init__(self, task: asyncio.Task[object], client: asyncio.StreamWriter) -> None:
        self.task = task
        self.client = client
        self.upstream: asyncio.StreamWriter | None = None

    def half_close(self) -> None:
        with contextlib.suppress(OSError):
            self.client.write_eof()

    def abort(self) -> None:
        for writer in (self.client, self.upstream):
            if writer is not None:
                writer.transport.abort()
        self.task.cancel()

    def close(self) -> None:
        self.client.close()
        if self.upstream is not None:
            self.upstream.close()
