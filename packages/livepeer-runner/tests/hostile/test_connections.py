"""What reaches the server before any token: heads without end, half heads, many connections."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, suppress
from typing import Any

import psutil
import pytest

from livepeer.runner import Pipeline
from livepeer.runner.http import connection
from livepeer.runner.http.connection import BoundedConnection

MIB = 1024 * 1024
LINE = b"x-filler: " + b"a" * 1000 + b"\r\n"


class Echo(Pipeline):
    def predict(self, text: str) -> str:
        return text


def send_until_refused(sock: socket.socket, piece: bytes, most: int) -> int:
    sent = 0
    with suppress(OSError):
        while sent < most:
            sock.sendall(piece)
            sent += len(piece)
    return sent


@pytest.mark.parametrize(
    "begun",
    [
        b"POST /predict HTTP/1.1\r\nhost: a\r\n",
        b"POST /predict HTTP/1.1\r\nhost: a\r\nx-one: ",  # one header that does not end
        b"GET /",  # a request line that does not end
        b"",  # empty lines before the request line
        b"POST /nothing HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",  # trailers
        b"POST /nothing HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;x=",  # an extension
    ],
    ids=["headers", "header", "url", "blanks", "trailers", "extension"],
)
def test_a_head_without_end_is_refused_at_64_kib_and_costs_no_memory(
    shared_victim: Any, begun: bytes
) -> None:
    running = shared_victim
    before = running.peak()
    filler = LINE if begun.endswith(b"\n") else b"a" * 1000 if begun else b"\r\n" * 500
    with running.connect() as sock:
        sock.sendall(begun)
        send_until_refused(sock, filler * 60, 30 * MIB)
        said = b""
        with suppress(ConnectionError):
            while piece := sock.recv(65536):
                said += piece
    assert running.peak() - before < 8 * MIB
    assert b"nothing" in begun or said.startswith(b"HTTP/1.1 431 "), said[:200]
    assert running.get("/ready").status_code == 200


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
async def test_a_body_behind_an_upgrade_is_refused_and_not_lost(
    served: Any, protocol: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Java's HTTP client asks for h2c with each first request, `curl --http2` too."""
    async with served(Echo) as s:
        for body, status in ((b'{"text": "a"}', b"400"), (b"", b"200")):
            method = b"POST /predict" if body else b"GET /schema"
            reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
            writer.write(
                method + b" HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: " + protocol
            )
            writer.write(b"\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            async with asyncio.timeout(20):
                line = await reader.readline()
                assert line.split()[1] == status
                if body:
                    assert b"--http1.1" in await reader.read()
            writer.close()
    # uvicorn's advice to install a WebSocket library would mislead: there is none to be spoken.
    assert "WebSocket" not in caplog.text and "upgrade" not in caplog.text


@pytest.mark.parametrize("size, status", [(60_000, b"200"), (70_000, b"431"), (200_000, b"431")])
async def test_the_limit_of_heads_is_exact_whatever_the_pieces(
    served: Any, size: int, status: bytes
) -> None:
    async with served(Echo) as s:
        for piece in (size, 997):
            reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
            head = b"GET /ready HTTP/1.1\r\nhost: a\r\nx-one: " + b"a" * size + b"\r\n\r\n"
            for start in range(0, len(head), piece):
                writer.write(head[start : start + piece])
            async with asyncio.timeout(20):
                line = await reader.readline()
            assert line.split()[1] == status
            writer.close()


async def test_a_head_that_takes_too_long_is_408(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedConnection, "head_seconds", 0.2)
    async with served(Echo) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"200"
        dribbling = asyncio.create_task(_dribble(writer))
        async with asyncio.timeout(20):
            rest = await reader.read()
        assert b"HTTP/1.1 408 Request Timeout\r\n" in rest
        dribbling.cancel()
        writer.close()


async def _dribble(writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /ready HTTP/1.1\r\n")
    while True:
        writer.write(b"x-a: b\r\n")
        await asyncio.sleep(0.02)


def test_half_heads_starve_nobody(victim: Any) -> None:
    running = victim(files=256)
    with ExitStack() as stack:
        for _ in range(300):
            sock = stack.enter_context(running.connect())
            with suppress(ConnectionError):
                sock.sendall(b"POST /predict HTTP/1.1\r\nhost: a\r\n")
        assert running.post({"text": "abc"}).json() == 3
        assert running.get("/health").json()["status"] == "IDLE"


async def test_with_all_places_taken_the_oldest_half_head_gives_way(
    served: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "most_connections", lambda capacity: 8)
    monkeypatch.setattr(BoundedConnection, "_warned", float("-inf"))
    async with served(Echo) as s:
        assert (await s.http.get("/ready")).status_code == 200  # kept open
        halves = []
        for _ in range(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
            writer.write(b"POST /predict HTTP/1.1\r\nhost: a\r\n")
            halves.append((reader, writer))
        async with asyncio.timeout(20):
            with suppress(ConnectionError):
                assert await halves[0][0].read() == b""
        assert (await s.http.get("/ready")).status_code == 200
        for _, writer in halves:
            writer.close()
        assert "the limit is 8" in caplog.text


async def test_requests_sent_ahead_are_bounded_and_the_one_being_answered_hears_of_it(
    served: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ended = asyncio.Event()

    class Slow(Pipeline):
        async def predict(self) -> str:
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()
            return ""

    request = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
    async with served(Slow) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(request)
        await s.until(lambda: s.slots_taken == 1)
        writer.write(request * 2000)
        async with asyncio.timeout(20):
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            await ended.wait()
        await s.until(lambda: s.slots_taken == 0)
        writer.close()
    assert not [one.message for one in caplog.records if one.levelname == "ERROR"]


async def test_a_caller_that_leaves_behind_requests_sent_ahead_is_noticed(served: Any) -> None:
    ended = asyncio.Event()

    class Slow(Pipeline):
        async def predict(self) -> str:
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()
            return ""

    request = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
    async with served(Slow) as s:
        _, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(request * 3)
        await s.until(lambda: s.slots_taken == 1)
        writer.transport.abort()
        async with asyncio.timeout(20):
            await ended.wait()


async def test_an_answer_that_nobody_reads_is_given_up(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STALLED_SECONDS", 0.2)

    class Large(Pipeline):
        def predict(self) -> str:
            return "a" * (64 * MIB)

    async with served(Large) as s:
        _, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        await s.until(lambda: s.slots_taken == 0)

        def served_here() -> list[Any]:
            return [
                one
                for one in psutil.Process().net_connections("tcp")
                if one.laddr.port == s.port and one.status == psutil.CONN_ESTABLISHED and one.raddr
            ]

        await s.until(lambda: not served_here())
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
