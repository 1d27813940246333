"""For your own tests: an orchestrator that answers, or fails, exactly as told. Real HTTP.

    async with ScriptedOrchestrator(job=reply({"label": "positive"})) as orch:
        gw = Gateway(orch_url=orch.url)
        assert (await gw.run_async("sentiment"))["label"] == "positive"
        assert orch.jobs[0].json() == {}

A script is a list of steps: bytes to write, seconds to wait, an `asyncio.Event` to wait for, `CUT`
(drop the connection), or `HANG` (nothing more, until the caller has left, which sets `left`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from livepeer.trickle.testing.streams import StreamServer

__all__ = [
    "CUT",
    "EVENT_STREAM",
    "HANG",
    "LAST",
    "Request",
    "ScriptedOrchestrator",
    "chunk",
    "events",
    "reply",
]

LIMIT = 20.0


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def job(self) -> dict[str, Any]:
        """What the `Livepeer` header says."""
        job: dict[str, Any] = json.loads(base64.b64decode(self.headers["livepeer"]))
        return job

    def json(self) -> Any:
        return json.loads(self.body)


def reply(
    body: bytes | str | Any = b"",
    status: int = 200,
    content_type: str = "application/json",
    **headers: str,
) -> list[Any]:
    """A whole HTTP answer, as a script of one step."""
    if isinstance(body, str):
        body = body.encode()
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    return [("\r\n".join(lines) + "\r\n\r\n").encode() + body]


def chunk(data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


EVENT_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
CUT: Any = object()
HANG: Any = object()
LAST = b"0\r\n\r\n"


def events(*parts: Any, ends: bool = True) -> list[Any]:
    """An event stream: text pieces as chunks, other steps as they are."""
    steps = [chunk(part) if isinstance(part, (str, bytes)) else part for part in parts]
    return [EVENT_STREAM, *steps, *([LAST] if ends else [])]


@dataclass
class ScriptedOrchestrator:
    """Answers token requests by `capacity`, `price` and `balance` (or the script `token`), jobs by
    `job`.

    `job` is a script, or a function from a `Request` to one. `schema` is what `POST /schema`
    answers; without it that is 404. `tokens`, `jobs` and `others` keep every request; `begun` is
    set by the first job, `left` when a caller left a `HANG`.
    """

    ssl_context: ssl.SSLContext | None = None
    capacity: int = 1
    price: dict[str, int] = field(default_factory=lambda: {"pixelsPerUnit": 1})
    ticket_params: dict[str, Any] | None = None
    token: list[Any] | None = None
    job: Callable[[Request], list[Any]] | list[Any] = field(
        default_factory=lambda: reply({"ok": True})
    )
    schema: Any = None
    jobs: list[Request] = field(default_factory=list)
    tokens: list[Request] = field(default_factory=list)
    schemas: int = 0
    others: list[Request] = field(default_factory=list)
    other: Callable[[Request], list[Any]] | None = None
    connections: int = 0
    bytes_written: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    balance: int = 0

    async def start(self, port: int = 0) -> None:
        """Listen; a port is for one that comes back where another was."""
        self._server = StreamServer(self._serve, port=port, ssl=self.ssl_context)
        await self._server.start()
        self.port = self._server.port
        self.url = f"{'https' if self.ssl_context else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        await self._server.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while request := await self._read(reader):
                if not await self._play(self.script(request), reader, writer):
                    break
                if "transfer-encoding" in request.headers:
                    break  # its body was not read, and would pass for the next request
        finally:
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except asyncio.IncompleteReadError:
            return None
        method, path, _ = head[0].split(" ", 2)
        headers = {}
        for line in head[1:]:
            name, _, value = line.partition(":")
            if name:
                headers[name.strip().lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Request(method, path, headers, body)

    def script(self, request: Request) -> list[Any]:
        """What answers this request; a test may put another function in its place."""
        if request.path == "/process/token":
            self.tokens.append(request)
            if self.token is not None:
                return self.token
            token: dict[str, Any] = {
                "sender_address": json.loads(
                    base64.b64decode(request.headers["livepeer-eth-address"])
                ),
                "price": self.price,
                "service_addr": self.url,
                "LastNonce": 0,
            }
            if self.ticket_params is not None:
                token["ticket_params"] = self.ticket_params
            if self.balance:
                token["balance"] = self.balance
            if self.capacity:
                token["available_capacity"] = self.capacity
            return reply(token)
        if request.path == "/process/request/schema":
            self.schemas += 1
            if self.schema is None:
                return reply("404 page not found\n", 404, "text/plain")
            return reply(self.schema)
        if request.path.startswith("/process/request/"):
            self.jobs.append(request)
            self.begun.set()
            return self.job(request) if callable(self.job) else self.job
        self.others.append(request)
        return self.other(request) if self.other else reply("404", 404, "text/plain")

    async def _play(
        self, script: list[Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        for step in script:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
                self.bytes_written += len(step)
            elif isinstance(step, asyncio.Event):
                await asyncio.wait_for(step.wait(), LIMIT)
            elif isinstance(step, int | float):
                await asyncio.sleep(step)
            elif step is CUT:
                await asyncio.sleep(0)
                writer.transport.abort()
                return False
            elif step is HANG:
                with contextlib.suppress(OSError):
                    await reader.read(1)
                self.left.set()
                return False
        return True
