"""Requests of any method with any body: what servers read of them, and what becomes of answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import h11
import pytest
from aiohttp import web

from livepeer.trickle import ProtocolError, TrickleConnectionError, TrickleTimeout
from livepeer.trickle.http.call import Body, HTTPCall, HTTPCalls
from livepeer.trickle.testing.streams import StreamServer

LIMIT = 30.0
Eventually = Callable[[Callable[[], object]], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def _told(method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    return json.dumps([method, target, headers, len(body), digest]).encode()


@asynccontextmanager
async def by_aiohttp() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        return web.Response(body=_told(request.method, request.raw_path, headers, body))

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def by_h11() -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        machine = h11.Connection(h11.SERVER)
        request: Any = None
        body = b""
        while True:
            event = machine.next_event()
            if event is h11.NEED_DATA:
                machine.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                names = [name.decode() for name, _ in request.headers]
                assert len(names) == len(set(names)), "a header came twice"
                headers = {name.decode(): value.decode() for name, value in request.headers}
                method, target = request.method.decode(), request.target.decode()
                told = _told(method, target, headers, body)
                head = [("Content-Length", str(len(told)))]
                writer.write(machine.send(h11.Response(status_code=200, headers=head)) or b"")
                if method != "HEAD":
                    writer.write(machine.send(h11.Data(data=told)) or b"")
                machine.send(h11.EndOfMessage())
                machine.start_next_cycle()
            else:
                return

    async with StreamServer(serve) as server:
        yield f"http://127.0.0.1:{server.port}"


async def pieces(*each: bytes) -> AsyncIterator[bytes]:
    for piece in each:
        yield piece
        await asyncio.sleep(0)


async def whole(call: HTTPCall) -> bytes:
    assert await call.wait(LIMIT)
    found = b""
    while piece := await call.read(LIMIT):
        found += piece
    return found


LARGE = bytes(range(256)) * 4000


@pytest.mark.parametrize("served", [by_aiohttp, by_h11])
async def test_every_method_and_body_arrives_as_it_was_sent_on_one_connection(served: Any) -> None:
    async with served() as url, HTTPCalls({"A": "b"}) as calls:

        async def tell(method: str, body: Body | None, headers: Any = None) -> Any:
            answer = calls.open(method, f"{url}/p%2F?q=1", headers=headers, body=body)
            data = await whole(answer)
            assert (answer.status, answer.error) == (200, None)
            return json.loads(data) if method != "HEAD" else None

        sha = hashlib.sha256
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT"):
            for sent, body in (
                (None, b""),
                (b"", b""),
                (b"hello", b"hello"),
                (LARGE, LARGE),
                (pieces(b"", b"a", b"", LARGE, b"z"), b"a" + LARGE + b"z"),
                (pieces(), b""),
            ):
                found = await tell(method, sent, {"X-Y": "ä"})
                headers = found.pop(2)
                assert found == [method, "/p%2F?q=1", len(body), sha(body).hexdigest()]
                assert headers["a"] == "b" and headers["x-y"] == "ä"
                streamed = not isinstance(sent, bytes | None)
                assert headers.get("transfer-encoding") == ("chunked" if streamed else None)
                silent = sent is None and method in ("GET", "OPTIONS")
                length = None if streamed or silent else str(len(body))
                assert headers.get("content-length") == length
        await tell("HEAD", None)
        told = await tell("POST", pieces(b"12", b"345"), {"content-length": "5", "a": "c"})
        assert told[2]["content-length"] == "5" and told[2]["a"] == "c" and told[3] == 5
        assert "transfer-encoding" not in told[2]
        assert (await tell("POST", b"12345", {"Content-Length": "5"}))[3] == 5
        assert (await tell("GET", None, {"User-Agent": "me"}))[2]["user-agent"] == "me"
        assert calls.connections == 1


@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        ("CONNECT", {}, None),
        ("get", {}, None),
        ("GET /\r\nX: y", {}, None),
        ("POST", {"Transfer-Encoding": "chunked"}, b"x"),
        ("POST", {"transfer-encoding": "gzip"}, pieces(b"x")),
        ("POST", {"Content-Length": "2"}, b"x"),
        ("POST", {"Content-Length": "1", "content-length": "1"}, b"x"),
        ("POST", {"Content-Length": "+1"}, pieces(b"x")),
        ("GET", {"Content-Length": "5"}, None),
        ("GET", {"Host": "elsewhere"}, None),
        ("GET", {"Authorization": "Bearer x"}, None),
        ("GET", {"X": "a\r\nB: c"}, None),
        ("GET", {"X: y\r\n": "a"}, None),
        ("GET", {"X ": "a"}, None),
        ("GET", {"": "a"}, None),
        ("GET", {"X": "\udc80"}, None),
        ("GET", {"X": 1}, None),
    ],
)
async def test_a_request_that_could_be_read_in_two_ways_is_not_sent(
    method: str, headers: Any, body: Any
) -> None:
    async with HTTPCalls() as calls:
        with pytest.raises((ValueError, TypeError)):
            calls.open(method, "http://user:secret@127.0.0.1:1/", headers=headers, body=body)
        with pytest.raises(ProtocolError, match="not a URL"):
            calls.open("GET", "ftp://127.0.0.1/", headers={})
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


@asynccontextmanager
async def scripted(*answers: Any) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answers the heads that come with what is given, each once: bytes, or None to close."""
    left, heads = list(answers), list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            answer = left.pop(0)
            for piece in answer if isinstance(answer, list) else [answer]:
                if piece is None:
                    writer.transport.abort()
                    return
                writer.write(piece)
                await asyncio.sleep(0)

    async with StreamServer(serve) as server:
        yield f"http://127.0.0.1:{server.port}/", heads


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST", "PATCH", "ANY"])
async def test_what_has_effects_is_sent_once_also_on_a_connection_that_died(method: str) -> None:
    repeatable = method not in ("POST", "PATCH", "ANY")
    end = b"HTTP/1.1 204 No\r\n\r\n"
    async with scripted(end, None, end) as (url, heads), HTTPCalls() as calls:
        await whole(calls.open("GET", url))
        call = calls.open(method, url, body=b"x" if method == "PUT" else None)
        await call.wait(LIMIT)
        assert call.sent
        assert (call.status == 204) is repeatable
        assert (call.error is None) is repeatable
        assert len(heads) == (3 if repeatable else 2)


async def test_a_connection_that_ended_while_the_loop_was_busy_is_not_used(
    monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr("livepeer.trickle.http.pool._QUIET", 0.0)
    asked, end = 0, asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        writer.write(OK)
        await end.wait()

    async with StreamServer(serve) as server, HTTPCalls() as calls:
        url = f"http://127.0.0.1:{server.port}/"
        await whole(calls.open("POST", url))
        (connection,) = calls._pool._all
        assert not connection.spoken
        connection._io.pause_reading()  # as a loop that is busy does not read
        end.set()
        await eventually(lambda: connection.spoken)
        assert connection.open
        assert await whole(calls.open("POST", url)) == b"ok" and asked == 2


async def test_an_answer_to_nothing_ends_its_connection() -> None:
    idle = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await idle.wait()
        writer.write(OK)
        await reader.read()

    async with StreamServer(serve) as server, HTTPCalls() as calls:
        await whole(calls.open("GET", f"http://127.0.0.1:{server.port}/"))
        (connection,) = calls._pool._all
        idle.set()
        async with asyncio.timeout(LIMIT):
            await asyncio.shield(connection.lost)
        assert calls.connections == 0 and not calls._pool._idle


async def test_idle_connections_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livepeer.trickle.http.pool._IDLE", 0.05)
    async with scripted(OK) as (url, _), HTTPCalls() as calls:
        await whole(calls.open("GET", url))
        (connection,) = calls._pool._all
        async with asyncio.timeout(LIMIT):
            await asyncio.shield(connection.lost)
        assert calls.connections == 0 and not calls._pool._idle


async def test_a_calls_that_was_closed_makes_and_keeps_no_connection() -> None:
    async with scripted(OK, OK) as (url, _):
        calls = HTTPCalls()
        before = calls.open("GET", url)
        await calls.aclose()
        await before.wait(LIMIT)
        assert isinstance(before.error, TrickleConnectionError) and not before.sent
        assert calls.connections == 0


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ([b"SSH-2.0-x\r\n\r\n"], "not HTTP"),
        ([b"HTTP/1.1 200 OK\r\n" + b"A: " + b"b" * 70_000 + b"\r\n\r\n"], "too long"),
        ([b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000 + b"\r\n"], "too long"),
        ([b"HTTP/1.1 103 Early\r\n\r\n"] * 17, "provisional"),
        ([b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"], "switched"),
        ([OK + b"x"], "more bytes"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"], "no length"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"], "coding"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"], "size of a chunk"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", None], "closed|reset|ended"),
        ([b"HTTP/1.1 200 O", None], "closed|reset|ended"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", None], "closed|reset|ended"),
        ([None], "closed|reset|ended"),
    ],
)
async def test_an_answer_that_is_none_is_one_error_and_its_connection_is_dropped(
    answer: list[Any], told: str, eventually: Eventually
) -> None:
    async with scripted(answer) as (url, heads), HTTPCalls() as calls:
        call = calls.open("POST", url, body=b"")
        with pytest.raises((ProtocolError, TrickleConnectionError), match=told):
            await whole(call)
            raise call.error or AssertionError("it was taken for an answer")
        assert call.sent and len(heads) == 1
        await eventually(lambda: not calls.connections)


async def test_an_answer_that_comes_byte_by_byte_is_given_up_in_time() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in b"HTTP/1.1 200 OK\r\nA: " + b"b" * 60_000:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)

    async with StreamServer(drip) as server, HTTPCalls() as calls:
        call = calls.open("GET", f"http://127.0.0.1:{server.port}/")
        assert not await call.wait(0.2)
        await call.aclose()
        assert calls.connections == 0


async def endless(sent: list[int]) -> AsyncIterator[bytes]:
    while True:
        sent.append(1)
        yield bytes(100_000)


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
async def test_an_early_answer_ends_the_body_and_the_connection(
    kind: str, eventually: Eventually
) -> None:
    seen = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await seen.wait()

    async with StreamServer(refuse) as server, HTTPCalls() as calls:
        body: Body = bytes(50_000_000) if kind == "bytes" else endless([])
        call = calls.open("POST", f"http://127.0.0.1:{server.port}/", body=body)
        assert (await whole(call), call.status, call.error) == (b"no", 413, None)
        await eventually(lambda: not (calls.connections or len(asyncio.all_tasks()) > 2))
        seen.set()


async def test_a_body_and_its_answer_may_go_on_at_once() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while size := int(await reader.readuntil(b"\r\n"), 16):
            data = await reader.readexactly(size + 2)
            writer.write(b"%x\r\n%b" % (size, data))
        await reader.readexactly(2)
        writer.write(b"0\r\n\r\n")
        await reader.read()

    turns = asyncio.Semaphore(0)

    async def body() -> AsyncIterator[bytes]:
        for each in (b"one", b"two", b"three"):
            yield each
            await turns.acquire()

    async with StreamServer(echo) as server, HTTPCalls() as calls:
        call = calls.open("POST", f"http://127.0.0.1:{server.port}/", body=body())
        found = []
        while piece := await call.read(LIMIT):
            found.append(piece)
            turns.release()
        assert found == [b"one", b"two", b"three"]
        assert calls.connections == 1 == len(calls._pool._idle)


async def test_a_server_that_takes_nothing_is_given_up_and_holds_the_body_back() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with StreamServer(deaf) as server, HTTPCalls() as calls:
        sent: list[int] = []
        url = f"http://127.0.0.1:{server.port}/"
        call = calls.open("POST", url, body=endless(sent), limit=0.2)
        assert await call.wait(LIMIT)
        assert isinstance(call.error, TrickleTimeout) and "took nothing for 0.2 s" in str(
            call.error
        )
        assert len(sent) < 200


@pytest.mark.parametrize(
    ("body", "length", "told"),
    [
        (lambda: _breaks(RuntimeError("mine")), None, "broke off"),
        (lambda: _breaks(OSError("mine")), None, "broke off"),
        (lambda: _breaks(asyncio.CancelledError()), None, "broke off"),
        (lambda: pieces("text"), None, "broke off"),  # type: ignore[arg-type]
        (lambda: pieces(b"123"), "2", "broke off"),
        (lambda: pieces(b"123"), "4", "broke off"),
    ],
)
async def test_a_body_that_breaks_off_is_the_error_and_no_whole_request(
    body: Any, length: str | None, told: str, eventually: Eventually
) -> None:
    ends: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            ends.append(await reader.read())
        except OSError:
            ends.append(b"")

    async with StreamServer(listen) as server, HTTPCalls() as calls:
        headers = {"Content-Length": length} if length else {}
        url = f"http://127.0.0.1:{server.port}/"
        call = calls.open("POST", url, headers=headers, body=body())
        await call.wait(LIMIT)
        assert call.bad_body and told in str(call.error)
        assert calls.connections == 0 or not calls._pool._idle
        await eventually(lambda: ends)
        assert not ends[0].endswith(b"0\r\n\r\n") and len(ends[0]) < 20


async def _breaks(error: BaseException) -> AsyncIterator[bytes]:
    yield b"x"
    raise error


async def test_no_answer_to_head_has_a_body() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    until_close = b"HTTP/1.1 200 OK\r\n\r\n"
    async with scripted(head, chunked, until_close, OK) as (url, heads), HTTPCalls() as calls:
        for _ in range(3):
            call = calls.open("HEAD", url)
            assert await whole(call) == b"" and call.status == 200 and call.error is None
        assert await whole(calls.open("GET", url)) == b"ok"
        assert len(heads) == 4 and calls.connections == 1


async def test_names_of_an_answers_headers_have_no_case() -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-Two: 1\r\nx-two: 2\r\nContent-Length: 0\r\n\r\n"
    async with scripted(answer) as (url, _), HTTPCalls() as calls:
        call = calls.open("GET", url)
        assert not call.headers and call.content_length is None
        await whole(call)
        assert call.headers["X-TWO"] == call.headers.get("x-Two") == "1, 2"
        assert "X-two" in call.headers and "other" not in call.headers
        assert call.content_length == 0


async def test_a_call_that_is_cancelled_at_each_wait_leaves_nothing(
    cancelled_at_each_wait: Callable[..., Any], elsewhere: Callable[..., Any]
) -> None:
    server = elsewhere(_echoing())

    async def use() -> None:
        async with HTTPCalls() as calls:
            for body in (None, b"x", bytes(1_000_000), pieces(b"a", bytes(200_000))):
                url = f"http://127.0.0.1:{server.port}/"
                call = calls.open("POST", url, body=body)
                try:
                    assert await whole(call) == b"ok"
                finally:
                    await call.aclose()

    assert await cancelled_at_each_wait(use) >= 4


def _echoing() -> StreamServer:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"chunked" in head:
                await reader.readuntil(b"\r\n0\r\n\r\n")
            else:
                length = head.partition(b"content-length: ")[2].split(b"\r")[0]
                await reader.readexactly(int(length))
            writer.write(OK)

    return StreamServer(serve, limit=1 << 20)
