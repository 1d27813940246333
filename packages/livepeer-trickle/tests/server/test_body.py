"""A body in plain chunks, with aiohttp's parser for an oracle; and what the server makes of it."""

import asyncio
import socket
from unittest.mock import Mock

import pytest
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from livepeer.trickle.http.buffer import PIECE
from livepeer.trickle.http.http1 import ResponseParser
from livepeer.trickle.server import Channel, ServerLimits, TrickleServer
from livepeer.trickle.server.body import PlainChunks

HEAD = b"POST /cam/0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMIT = 30.0


class Oracle:
    """aiohttp's parser, behind the head of a POST."""

    def __init__(self) -> None:
        loop = asyncio.new_event_loop()
        try:
            self._parser = HttpRequestParser(Mock(), loop, 2**16)
            (_, self.payload), *_ = self._parser.feed_data(HEAD)[0]
        finally:
            loop.close()
        self.payload.begin_http_chunk_receiving()
        self.failed = False
        self.messages = 0

    def feed(self, data: bytes) -> None:
        if self.failed:
            return
        try:
            self.messages += len(self._parser.feed_data(data)[0])
        except HttpProcessingError:
            self.failed = True

    def outcome(self, before: bytes = b"") -> tuple[bytes, bool, bool, int]:
        body = before + b"".join(self.payload._buffer)
        return body, self.payload.is_eof(), self.failed, self.messages


def chunk(data: bytes, size: str = "{:x}", extra: bytes = b"") -> bytes:
    return size.format(len(data)).encode() + extra + b"\r\n" + data + b"\r\n"


PLAIN = st.binary(min_size=1, max_size=40).map(chunk)
ODD = st.sampled_from(
    [
        chunk(b"extended", extra=b";name=value"),
        chunk(b"zeros", "{:010x}"),
        chunk(b"UPPER CASE!", "{:X}"),
        b"\r\n",
        b"-5\r\nminus\r\n",
        b"0x5\r\nhello\r\n",
        b" 5\r\nspace\r\n",
        b"5 \r\nspace\r\n",
        b"5\nbare!\n",
        b"5\r\nlonger than that\r\n",
        b"fffffffff\r\nmuch",
        b"+3\r\nabc\r\n",
        b"1_0\r\n0123456789abcdef\r\n",
        b"\r5\r\nhello\r\n",
        b"5\r\nhello\n\r",
        b"5\r\nhello\r\r\n",
    ]
)
END = st.sampled_from(
    [
        b"",
        b"0\r\n\r\n",
        b"000\r\n\r\n",
        b"0\r\nTrailer: x\r\n\r\n",
        b"0;x\r\n\r\n",
        b"0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"0\r\n\r\n" + HEAD + b"3\r\nabc\r\n",
    ]
)


@given(
    st.lists(st.one_of(PLAIN, PLAIN, PLAIN, ODD), max_size=8), END, st.data(), st.integers(1, 30)
)
def test_what_is_cut_here_is_what_the_parser_would_have_made_of_it(
    chunks: list[bytes], end: bytes, data: st.DataObject, longest: int
) -> None:
    wire = b"".join(chunks) + end
    theirs = Oracle()
    theirs.feed(wire)
    ours, rest = PlainChunks(), Oracle()
    stored = b""
    position = 0
    while position < len(wire):
        size = data.draw(st.integers(1, longest))
        part = wire[position : position + size]
        position += size
        if ours.rest is not None:
            rest.feed(part)
            continue
        stored += b"".join(ours.feed(memoryview(part)))
        if ours.rest is not None:
            rest.feed(ours.rest)
    if theirs.failed:  # what came before the fault may be told earlier or later
        body, _, failed, messages = rest.outcome(stored)
        assert (failed, messages) == (True, theirs.messages)
        assert body.startswith(theirs.outcome()[0]) or theirs.outcome()[0].startswith(body)
    else:
        assert rest.outcome(stored) == theirs.outcome()


def test_pieces_are_joined_and_cut() -> None:
    body = PlainChunks()
    wire = b"".join(chunk(b"x" * 50_000) for _ in range(6)) + chunk(b"y" * 3)
    assert [len(piece) for piece in body.feed(memoryview(wire))] == [PIECE, PIECE, 54_243]
    assert body.rest is None
    assert body.feed(memoryview(b"0\r\n\r\n")) == []
    assert body.rest == b"0\r\n\r\n"


async def talk(server: TrickleServer, *pieces: bytes, answers: int = 1) -> list[ResponseParser]:
    """Send `pieces`, each when the server has read the one before, and read `answers`."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    parsers = [ResponseParser()]
    try:
        async with asyncio.timeout(LIMIT):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            while not parsers[-1].complete:
                data = await reader.read(1)
                if not data:
                    break
                parsers[-1].feed(data)
                if parsers[-1].complete and len(parsers) < answers:
                    parsers.append(ResponseParser())
    finally:
        writer.close()
    return parsers


def held(channel: Channel | None, seq: int) -> bytes:
    assert channel is not None
    segment = channel.get(seq)
    assert segment is not None
    return b"".join(segment.chunks)


@pytest.mark.parametrize("step", [1, 3, 10_000])
async def test_a_segment_is_whole_wherever_its_request_is_cut(step: int) -> None:
    body = b"a" * 100 + b"\r\n\r\n" + b"b" * 33
    wire = HEAD + chunk(body[:50]) + chunk(body[50:120], extra=b";x") + chunk(body[120:])
    wire += b"0\r\n\r\n" + HEAD.replace(b"/0", b"/1") + chunk(b"next") + b"0\r\n\r\n"
    async with TrickleServer() as server:
        pieces = [wire[i : i + step] for i in range(0, len(wire), step)]
        first, second = await talk(server, *pieces, answers=2)
        assert [p.head and p.head.status for p in (first, second)] == [200, 200]
        assert held(server.get("cam"), 0) == body
        assert held(server.get("cam"), 1) == b"next"


async def test_a_body_that_is_ill_formed_half_way_is_500_and_leaves_the_segment_open() -> None:
    async with TrickleServer() as server:
        channel = server.create("cam")
        head = asyncio.create_task(talk(server, HEAD, chunk(b"good"), b"3\r\nbad!\r\n"))
        (answer,) = await head
        assert answer.head is not None
        assert answer.head.status == 500
        segment = channel.get(0)
        assert segment is not None
        assert not segment.closed
        assert held(channel, 0) in (b"good", b"goodbad")


async def test_a_body_that_nobody_wants_is_read_to_its_end() -> None:
    async with TrickleServer() as server:
        wrong = HEAD.replace(b"/cam/0", b"/cam/word")
        pieces = [wrong, *(chunk(b"x" * 100_000) for _ in range(5)), b"0\r\n\r\n", HEAD]
        first, second = await talk(server, *pieces, chunk(b"y"), b"0\r\n\r\n", answers=2)
        assert [p.head and p.head.status for p in (first, second)] == [400, 200]
        assert held(server.get("cam"), 0) == b"y"


async def test_over_a_limit_in_the_midst_of_large_chunks_is_413() -> None:
    async with TrickleServer(limits=ServerLimits(segment_bytes=300_000)) as server:
        pieces = [chunk(b"x" * 100_000) for _ in range(5)]
        (answer,) = await talk(server, HEAD, *pieces)
        assert answer.head is not None
        assert answer.head.status == 413
        channel = server.get("cam")
        assert channel is not None
        assert channel.size <= 300_000
