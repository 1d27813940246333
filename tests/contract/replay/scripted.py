"""The scripted server: it takes requests as they come and answers what the scenario says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

from .http1 import LAST_CHUNK, LIMIT, Connection, Incoming, chunk, head
from .transcript import Mismatch
from .values import Values


class Exchange:
    """One request that reached the server, and the connection its answer goes to."""

    def __init__(self, request: Incoming, connection: Connection) -> None:
        self.request = request
        self.connection = connection
        self.closed = Incoming()  # notes when the other side has closed
        self.answered = asyncio.Event()
        self._chunked = False
        self._until_close = False

    async def answer(self, answers: dict[str, Any], values: Values) -> None:
        """Writes one `answers` step."""
        if "provisional" in answers:
            line = f"HTTP/1.1 {answers['provisional']} Provisional"
            await self.connection.write(head(line, values.headers(answers.get("headers", {}))))
            return
        if "raw" in answers:
            data, finish, close = values.body(answers["raw"]), True, True
        else:
            data = self._begin(answers, values) if "status" in answers else b""
            finish = answers.get("finish", "status" in answers and "pieces" not in answers)
            pieces = [values.body(piece) for piece in answers.get("pieces", [])]
            data += b"".join(chunk(piece) if self._chunked else piece for piece in pieces)
            if finish and self._chunked:
                data += LAST_CHUNK
            close = answers.get("close") or (self._until_close and finish)
            finish = finish and answers.get("framing") != "none" and answers.get("status") != 101
        if finish and not close:
            # Before the last byte is out: the next request may come at once.
            self.answered.set()
        if data:
            await self.connection.write(data)
        if close:
            self.connection.close()
            self.answered.set()

    def _begin(self, answers: dict[str, Any], values: Values) -> bytes:
        headers = values.headers(answers.get("headers", {}))
        body = values.body(answers.get("body"))
        self._chunked = answers.get("framing") == "chunked"
        self._until_close = answers.get("framing") == "close"
        if self._chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        elif "body" in answers and "framing" not in answers:
            headers.append(("Content-Length", str(answers.get("length", len(body)))))
        return head(f"HTTP/1.1 {answers['status']} Recorded", headers) + body


class ScriptedServer:
    """Listens on loopback; `listens=False` holds a port that refuses."""

    def __init__(self, listens: bool = True, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))
        self._listens = listens
        self._server: asyncio.Server | None = None
        self._connections: dict[Connection, Exchange | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: asyncio.Queue[Exchange] = asyncio.Queue()

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    async def __aenter__(self) -> ScriptedServer:
        if self._listens:
            self._server = await asyncio.start_server(
                self._accept, sock=self._socket, limit=LIMIT, ssl=self._tls
            )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.down()
        self._socket.close()

    async def down(self) -> None:
        """Stops listening and closes everything."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def close_idle(self) -> None:
        for connection, exchange in list(self._connections.items()):
            if exchange is None:
                connection.close()

    async def next_request(self, limit: float) -> Exchange:
        try:
            async with asyncio.timeout(limit):
                return await self.requests.get()
        except TimeoutError:
            raise Mismatch(f"no request reached the scripted server within {limit} s") from None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections[connection] = None
        try:
            while not connection.at_end:
                request = Incoming()
                await connection.read(request, request=True)
                if not request.ended:
                    break
                exchange = Exchange(request, connection)
                self._connections[connection] = exchange
                self.requests.put_nowait(exchange)
                watch = asyncio.create_task(connection.until_closed(exchange.closed))
                try:
                    await exchange.answered.wait()
                finally:
                    watch.cancel()
                    await asyncio.gather(watch, return_exceptions=True)
                if exchange.closed.closed:
                    break
                self._connections[connection] = None
        except asyncio.CancelledError:
            pass
        finally:
            self._connections.pop(connection, None)
            self._tasks.discard(task)
            with contextlib.suppress(RuntimeError):
                writer.close()
