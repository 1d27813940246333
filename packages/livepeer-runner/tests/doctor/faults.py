"""One fault at a time, planted between a good container and its callers."""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from livepeer.runner import Image, LivePipeline, Pipeline, VideoFrame
from livepeer.runner.http.asgi import App, Message, Receive, Scope, Send
from livepeer.trickle import JSONLPublisher
from livepeer.trickle.testing.streams import StreamServer


class Reverse(Pipeline):
    """Long enough to be seen at work, with a choice and a bound."""

    def predict(
        self, text: str = "abc", times: int = 1, mode: Literal["plain", "loud"] = "plain"
    ) -> str:
        Reverse.event.wait(0.35)
        return text[::-1] * times

    @classmethod
    def of_this_test(cls) -> None:
        import threading

        cls.event = threading.Event()


Reverse.of_this_test()


class Cold(Pipeline):
    """Its first job takes three times as long as those to come."""

    warm = False

    def predict(self, text: str = "abc") -> str:
        Reverse.event.wait(0.35 if self.warm else 1.05)
        self.warm = True
        return text


class Count(Pipeline):
    def predict(self, to: int = 3) -> Iterator[int]:
        yield from range(to)


class Double(Pipeline):
    """Over in no time; it fails where it is told to."""

    def predict(self, x: int = 2, fail: bool = False) -> int:
        if fail:
            raise ValueError("it was told to")
        return 2 * x


class Limited(Pipeline):
    """Its own limit is short; it outlasts that where it is told to."""

    timeout = 0.3

    async def predict(self, seconds: float = 0.0) -> str:
        await asyncio.sleep(seconds)
        return "over"


class Telling(Pipeline):
    """Events that fail amid them where they are told to."""

    def predict(self, to: int = 3, fail: bool = False) -> Iterator[int]:
        yield from range(to)
        if fail:
            raise ValueError("it was told to")


class Look(Pipeline):
    def predict(self, image: Image) -> list[int]:
        pixels = image.to_ndarray()
        return list(pixels.shape)


class Slow(Pipeline):
    """Its setup takes a moment."""

    async def setup(self) -> None:
        await asyncio.sleep(0.3)

    def predict(self, x: int = 2) -> int:
        return x


class Through(LivePipeline):
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


class Dawdling(LivePipeline):
    """Its output stays open long after its input ended."""

    frames = 0

    async def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.frames += 1
        if self.frames > 1:
            await asyncio.sleep(2.5)
        return frame


Fault = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """A request on its way to the app: a fault passes it on, changed or not, or answers itself."""

    def __init__(
        self, app: App, scope: Scope, receive: Receive, send: Send, memory: dict[str, Any]
    ) -> None:
        self.app, self.receive, self.send = app, receive, send
        self.scope, self.memory = scope, memory
        self.method, self.path = scope["method"], scope["path"]
        self.stream = dict(scope["headers"]).get(b"x-stream-id", b"").decode()

    async def body(self) -> bytes:
        content = b""
        while True:
            message = await self.receive()
            content += message.get("body", b"")
            if not message.get("more_body"):
                return content

    async def caller_left(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def answer(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        sent = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": sent})
        await self.send({"type": "http.response.body", "body": body})

    async def forward(
        self,
        body: bytes | None = None,
        change: Callable[[Message], Awaitable[Message]] | None = None,
    ) -> None:
        given = [] if body is None else [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            return given.pop() if given else await self.receive()

        async def send(message: Message) -> None:
            await self.send(message if change is None else await change(message))

        if body is not None:
            headers = [pair for pair in self.scope["headers"] if pair[0] != b"content-length"]
            size = (b"content-length", str(len(body)).encode())
            self.scope = {**self.scope, "headers": [*headers, size]}
        await self.app(self.scope, receive, send)


class Planted:
    """The app with a fault; as middleware."""

    def __init__(self, app: App, fault: Fault) -> None:
        self._app, self._fault = app, fault
        self._memory: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        await self._fault(Exchange(self._app, scope, receive, send, self._memory))


async def none(exchange: Exchange) -> None:
    await exchange.forward()


def status(path: str, code: int, method: str = "") -> Fault:
    async def fault(exchange: Exchange) -> None:
        if exchange.path == path and method in ("", exchange.method):
            await exchange.answer(code)
        else:
            await exchange.forward()

    return fault


async def blocked_by_a_job(exchange: Exchange) -> None:
    memory = exchange.memory
    if exchange.path == "/predict":
        memory["jobs"] = memory.get("jobs", 0) + 1
        try:
            await exchange.forward()
        finally:
            memory["jobs"] -= 1
    elif exchange.path == "/health" and memory.get("jobs"):
        await exchange.caller_left()
    else:
        await exchange.forward()


def half_json(code: int) -> Fault:
    async def fault(exchange: Exchange) -> None:
        if exchange.method != "POST" or exchange.path == "/schema":
            return await exchange.forward()
        body = await exchange.body()
        if body == b'{"':
            await exchange.answer(code, b"broken")
        else:
            await exchange.forward(body)

    return fault


async def slash_redirected(exchange: Exchange) -> None:
    if exchange.path.endswith("/") and len(exchange.path) > 1:
        await exchange.answer(307, location=exchange.path.rstrip("/"))
    else:
        await exchange.forward()


async def connections_closed(exchange: Exchange) -> None:
    await exchange.answer(200, b'{"status": "OK"}', connection="close")


async def untyped(exchange: Exchange) -> None:
    await (exchange.answer(200, b"cba") if exchange.path == "/predict" else exchange.forward())


async def unbounded(exchange: Exchange) -> None:
    if exchange.path == "/predict":
        await exchange.body()
        await asyncio.sleep(0.4)
        await exchange.answer(200, b'"cba"', content_type="application/json")
    else:
        await exchange.forward()


async def leaking(exchange: Exchange) -> None:
    """A caller who left keeps the place for ever."""
    if exchange.path != "/predict":
        return await exchange.forward()
    if exchange.memory.get("taken"):
        return await exchange.answer(503)
    await exchange.body()
    exchange.memory["taken"] = True
    await asyncio.sleep(0.3)
    # Told only when the answer is due: a caller who has left is not there to hear it.
    gone = asyncio.create_task(exchange.receive())
    await asyncio.wait((gone,), timeout=0.05)
    if not gone.done():
        gone.cancel()
        exchange.memory["taken"] = False
        await exchange.answer(200, b'"cba"', content_type="application/json")


async def loud_refused(exchange: Exchange) -> None:
    if exchange.path != "/predict":
        return await exchange.forward()
    body = await exchange.body()
    if b"loud" in body:
        await exchange.answer(422, b"not so loud")
    else:
        await exchange.forward(body)


async def all_taken(exchange: Exchange) -> None:
    if exchange.path == "/predict":
        await exchange.answer(200, b'"cba"', content_type="application/json")
    else:
        await exchange.forward()


def events(text: bytes, kind: str = "text/event-stream", open_seconds: float = 0.0) -> Fault:
    async def fault(exchange: Exchange) -> None:
        if exchange.path != "/predict":
            return await exchange.forward()
        headers = [(b"content-type", kind.encode())]
        await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
        await exchange.send({"type": "http.response.body", "body": text, "more_body": True})
        if open_seconds:
            await exchange.body()
            gone = asyncio.create_task(exchange.receive())
            await asyncio.wait((gone,), timeout=open_seconds)
            gone.cancel()
        await exchange.send({"type": "http.response.body", "body": b""})

    return fault


async def wants_all_urls(exchange: Exchange) -> None:
    if exchange.path != "/stream/start":
        return await exchange.forward()
    body = await exchange.body()
    if b"subscribe_url" in body:
        await exchange.forward(body)
    else:
        await exchange.answer(422)


async def started_by_name_only(exchange: Exchange) -> None:
    await (exchange.answer(200) if exchange.path == "/stream/start" else exchange.forward())


async def places_lost(exchange: Exchange) -> None:
    """A stop is answered, and gives nothing back."""
    if exchange.path == "/stream/start" and exchange.memory.setdefault("taken", 0) > 0:
        return await exchange.answer(503)
    if exchange.path == "/stream/start":
        exchange.memory["taken"] += 1
    await exchange.forward()


async def second_start_fails(exchange: Exchange) -> None:
    started = exchange.memory.setdefault("started", set())
    if exchange.path == "/stream/start" and exchange.stream in started:
        return await exchange.answer(500)
    if exchange.path == "/stream/start":
        started.add(exchange.stream)
    await exchange.forward()


async def second_stop_fails(exchange: Exchange) -> None:
    stopped = exchange.memory.setdefault("stopped", set())
    if exchange.path == "/stream/stop" and exchange.stream in stopped:
        return await exchange.answer(404)
    if exchange.path == "/stream/stop":
        stopped.add(exchange.stream)
    await exchange.forward()


async def output_forgotten(exchange: Exchange) -> None:
    if exchange.path != "/stream/start":
        return await exchange.forward()
    body = json.loads(await exchange.body())
    body.pop("publish_url", None)
    await exchange.forward(json.dumps(body).encode())


async def stopped_together(exchange: Exchange) -> None:
    """Each stop ends every stream: the other's start is sent to nobody, so it says nothing more."""
    memory = exchange.memory
    if exchange.path == "/stream/start":
        memory.setdefault("started", []).append(exchange.stream)
    if exchange.path == "/stream/stop" and memory.get("started"):
        for name in memory.pop("started"):
            if name != exchange.stream:
                headers = [pair for pair in exchange.scope["headers"] if pair[0] != b"x-stream-id"]
                scope = {**exchange.scope, "headers": [*headers, (b"x-stream-id", name.encode())]}
                silent = Exchange(exchange.app, scope, exchange.receive, _nowhere, memory)
                await silent.forward(b'{"linger": 0}')
    await exchange.forward(b'{"linger": 0}' if exchange.path == "/stream/stop" else None)


async def _nowhere(message: Message) -> None:
    return None


async def ready_at_once(exchange: Exchange) -> None:
    await (exchange.answer(200) if exchange.path == "/ready" else exchange.forward())


class KeptFile:
    """Open until the server that keeps it is gone."""

    def __init__(self) -> None:
        self._descriptor = os.open(os.devnull, os.O_RDONLY)

    def __del__(self) -> None:
        os.close(self._descriptor)


async def keeps_files(exchange: Exchange) -> None:
    exchange.memory.setdefault("files", []).append(KeptFile())
    await exchange.forward()


async def keeps_memory(exchange: Exchange) -> None:
    # Pages of their own: an allocator may have as many to give that other tests have left.
    pages = mmap.mmap(-1, 2 << 20)
    pages.write(b"x" * (2 << 20))
    exchange.memory.setdefault("kept", []).append(pages)
    await exchange.forward()


def where(word: bytes, status: int, body: bytes = b"") -> Fault:
    """An answer of its own to whatever has this word in its body."""

    async def fault(exchange: Exchange) -> None:
        if exchange.method != "POST":
            return await exchange.forward()
        content = await exchange.body()
        await (exchange.answer(status, body) if word in content else exchange.forward(content))

    return fault


async def fetches_anything(exchange: Exchange) -> None:
    """Whatever URL is in a body is connected to."""
    content = await exchange.body() if exchange.method == "POST" else b""
    for host, port in re.findall(rb"http://(127[0-9.]+):(\d+)", content):
        if exchange.path in ("/predict", "/stream/start"):
            _, writer = await asyncio.open_connection(host.decode(), int(port))
            writer.close()
    await exchange.forward(content if content else None)


async def any_token(exchange: Exchange) -> None:
    async def change(message: Message) -> Message:
        if message.get("status") == 401:
            return {**message, "status": 404}
        return message

    await exchange.forward(change=change)


async def nothing_below_a_path(exchange: Exchange) -> None:
    await (exchange.answer(404) if exchange.path.startswith("/r/") else exchange.forward())


async def until_a_stop(exchange: Exchange) -> None:
    """One stream, until it is stopped."""
    memory = exchange.memory
    if exchange.path == "/stream/start":
        if memory.setdefault("running", exchange.stream) != exchange.stream:
            return await exchange.answer(503)
    elif exchange.path == "/stream/stop" and memory.get("running") == exchange.stream:
        del memory["running"]
    await exchange.forward()


def speaks(times: int, seconds: float) -> Fault:
    """A stream that is nothing but these events."""

    async def fault(exchange: Exchange) -> None:
        if exchange.path != "/stream/start":
            return await exchange.forward()
        url = json.loads(await exchange.body())["events_url"]
        await exchange.answer(200)
        async with JSONLPublisher(url, one_per_segment=True, delete_on_close=False) as events:
            for _ in range(times):
                await events.write({"type": "status"})
                await asyncio.sleep(seconds)

    return fault


async def read_first(exchange: Exchange) -> None:
    """A body is read to its end, whatever its length."""
    content = await exchange.body() if exchange.method == "POST" else None
    await exchange.forward(content)


async def one_body_at_a_time(exchange: Exchange) -> None:
    if exchange.method != "POST" or exchange.path == "/schema":
        return await exchange.forward()
    if exchange.memory.get("reading"):
        return await exchange.answer(503)
    exchange.memory["reading"] = True
    content = await exchange.body()
    exchange.memory["reading"] = False
    await exchange.forward(content)


def so_many(path: str, times: int, status: int) -> Fault:
    """After so many calls of a path no more of them succeed."""

    async def fault(exchange: Exchange) -> None:
        calls = exchange.memory["calls"] = exchange.memory.get("calls", 0) + (exchange.path == path)
        if exchange.path == path and calls > times:
            await exchange.answer(status)
        else:
            await exchange.forward()

    return fault


@asynccontextmanager
async def careless(*, one_by_one: bool = False) -> AsyncIterator[str]:
    """A server of bytes that takes any head, however long and odd; maybe one at a time."""
    turn = asyncio.Lock()

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with turn if one_by_one else asyncio.Lock():
            head = b""
            while not head.endswith(b"\r\n\r\n") and (line := await reader.readline()):
                head += line
            known = not head.startswith(b"POST /stream")
            status = b"200 OK" if known else b"404 Not Found"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n")
            writer.write(b"Connection: close\r\n\r\n")

    async with StreamServer(met, limit=16 << 20) as server:
        yield f"http://127.0.0.1:{server.port}"
