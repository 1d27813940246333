"""What answers is no trickle server, or one that means harm: it is not asked as fast as it answers,
not logged so either, and costs no more than its bytes."""

import asyncio
import gzip
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from livepeer.trickle import (
    JSONLSubscriber,
    ProtocolError,
    SegmentFailed,
    Timeouts,
    TricklePublisher,
    TrickleSubscriber,
)
from livepeer.trickle.protocol.records import RecordReader
from livepeer.trickle.testing import ScriptedServer
from livepeer.trickle.testing.streams import StreamServer

_SECONDS = 0.5
_MOST = 40
"""Requests in that time; a loop without a pause makes a thousand or more."""

Answers = Callable[[int, str], bytes]


@dataclass
class Nonsense:
    url: str
    requests: int = 0


@asynccontextmanager
async def _answering(answer: Answers) -> AsyncIterator[Nonsense]:
    """A server that says `answer(how many came before, path)`, and hangs up after b"\\0"."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            data = answer(nonsense.requests, head.split(b" ")[1].decode())
            nonsense.requests += 1
            writer.write(data.rstrip(b"\0"))
            if data.endswith(b"\0"):
                break

    async with StreamServer(serve) as server:
        nonsense = Nonsense(f"http://127.0.0.1:{server.port}/cam")
        yield nonsense


def _ok(body: bytes, **fields: object) -> bytes:
    lines = "".join(f"Lp-Trickle-{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 200 OK\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _half(body: bytes, **fields: object) -> bytes:
    return _ok(body, **fields).replace(b"Length: ", b"Length: 9") + b"\0"


def _asked(path: str) -> int:
    last = path.rpartition("/")[2]
    return int(last) if last.isdigit() else 0


KINDS: dict[str, Answers] = {
    "nothing": lambda n, path: _ok(b""),
    "empty segments without end": lambda n, path: _ok(b"", Seq=n),
    "a web page": lambda n, path: _ok(b"<html>Hello</html>"),
    "one number for all": lambda n, path: _ok(b"x", Seq=3),
    "any number": lambda n, path: _ok(b"x", Seq=n * 7919 % 1000),
    "segments that break off": lambda n, path: _half(b"x", Seq=_asked(path)),
    "a byte more each time": lambda n, path: _half(b"x" * n, Seq=0),
    "470 without a number": lambda n, path: (
        b"HTTP/1.1 470 No\r\nContent-Length: 0\r\n\r\n"
    ),
    "470 that runs away": lambda n, path: (
        b"HTTP/1.1 470 No\r\nLp-Trickle-Latest: %d\r\nContent-Length: 0\r\n\r\n" % (n * 100)
    ),
    "470 and 200 in turns": lambda n, path: (
        b"HTTP/1.1 470 No\r\nLp-Trickle-Latest: 90\r\nContent-Length: 0\r\n\r\n"
        if n % 2 else _ok(b"x", Seq=80, Latest=90)
    ),
    "503": lambda n, path: b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
    "nobody": lambda n, path: b"\0",
}  # fmt: skip


async def _for_a_while(reading: "asyncio.Task[object]") -> None:
    await asyncio.wait((reading,), timeout=_SECONDS)
    reading.cancel()
    await asyncio.wait((reading,))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", [0, "current"])
async def test_nonsense_is_not_asked_for_as_fast_as_it_comes(kind: str, start: int) -> None:
    async def read() -> None:
        async with TrickleSubscriber(nonsense.url, start=start, on_gap="oldest") as subscriber:
            async for segment in subscriber:
                try:
                    await segment.read()
                except SegmentFailed:
                    pass

    async with _answering(KINDS[kind]) as nonsense:
        reading: asyncio.Task[object] = asyncio.create_task(read())
        await _for_a_while(reading)
        assert 0 < nonsense.requests < _MOST
        if not reading.cancelled():  # where no number can be known at all
            assert isinstance(reading.exception(), ProtocolError)


async def test_lines_that_are_no_records_are_neither_asked_for_nor_logged_as_fast_as_they_come(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def read() -> None:
        async with JSONLSubscriber(nonsense.url, start=0) as records:
            async for _ in records:
                pass

    with caplog.at_level(logging.WARNING):
        async with _answering(lambda n, path: _ok(b"nonsense\n" * 9, Seq=_asked(path))) as nonsense:
            await _for_a_while(asyncio.create_task(read()))
            assert 0 < nonsense.requests < _MOST
    assert len(caplog.records) == 1


@pytest.mark.parametrize("client", [TrickleSubscriber, TricklePublisher])
async def test_what_a_server_says_is_one_harmless_line_of_an_error(
    client: type[TrickleSubscriber | TricklePublisher],
) -> None:
    text = "no\x1b[2J\r\n2026-11-28 ERROR forged\u202e\x9b".encode() * 50
    answer = b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n" % len(text) + text
    async with _answering(lambda n, path: answer) as nonsense:
        with pytest.raises(ProtocolError) as caught:
            async with client(nonsense.url) as opened:
                assert isinstance(opened, TrickleSubscriber)
                await anext(opened)
    assert "400 no [2J 2026-11-28 ERROR forged" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_a_segment_of_one_letter_lines_costs_no_more_than_its_bytes() -> None:
    began = time.process_time()
    reader = RecordReader()
    reader.feed(b"x\n" * 60_000)  # 40 s of work where each line is weighed with all before it
    reader.end()
    assert reader.bad == 60_000
    assert time.process_time() - began < 2


async def test_a_segment_is_read_whole_up_to_a_limit(scripted: ScriptedServer) -> None:
    async with TrickleSubscriber(f"{scripted.url}/cam", start=0) as subscriber:
        getting = asyncio.create_task(anext(subscriber))
        exchange = await scripted.request("GET", "/cam/0")
        await exchange.answer(200, {"Lp-Trickle-Seq": "0"}, None)
        await exchange.send(bytes(1000))
        segment = await getting
        with pytest.raises(SegmentFailed, match="500 bytes at most"):
            await segment.read(limit=500)
        assert (subscriber.stats.cut, await segment.receive()) == (1, b"")


async def test_a_compressed_answer_is_never_unpacked(scripted: ScriptedServer) -> None:
    """Nobody asks for one: what a bomb would become stays the few bytes that it is."""
    bomb = gzip.compress(bytes(10_000_000))
    async with TrickleSubscriber(f"{scripted.url}/cam", start=0) as subscriber:
        getting = asyncio.create_task(anext(subscriber))
        exchange = await scripted.request("GET", "/cam/0")
        assert exchange.headers["accept-encoding"] == "identity"
        await exchange.answer(200, {"Lp-Trickle-Seq": "0", "Content-Encoding": "gzip"}, bomb)
        assert await (await getting).read() == bomb


@pytest.mark.parametrize("at", ["next", "0"])
async def test_no_answer_in_http_amid_a_segment_is_a_failed_segment(
    scripted: ScriptedServer, at: str
) -> None:
    """Reading it raises `SegmentFailed` and nothing else; asking for the next tells the rest."""
    timeouts = Timeouts(silence=0.1)
    async with TrickleSubscriber(f"{scripted.url}/cam", start=0, timeouts=timeouts) as subscriber:
        getting = asyncio.create_task(anext(subscriber))
        exchange = await scripted.request("GET", "/cam/0")
        await exchange.answer(200, {"Lp-Trickle-Seq": "0"}, None)
        await exchange.send(b"a")
        segment = await getting
        assert await segment.receive() == b"a"
        receiving = asyncio.create_task(segment.receive())
        if at == "0":
            exchange.cut()
        while not receiving.done():
            asking = asyncio.create_task(scripted.request("GET"))
            await asyncio.wait((asking, receiving), return_when=asyncio.FIRST_COMPLETED)
            if asking.done() and asking.result().path != "/cam/1":
                asking.result()._writer.write(b"no HTTP at all\r\n\r\n")
            asking.cancel()
        with pytest.raises(SegmentFailed, match="not HTTP"):
            await receiving
