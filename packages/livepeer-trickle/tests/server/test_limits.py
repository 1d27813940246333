"""What the server holds for all of its clients together: bytes, connections, half a request."""

import asyncio
import contextlib
from collections.abc import Callable

import aiohttp
import pytest

from livepeer.trickle import SegmentFailed, ServerLimits, TricklePublisher, TrickleServer
from livepeer.trickle.protocol import wire
from livepeer.trickle.server import LimitExceeded

LIMIT = 30.0
"""Seconds; far more than anything here takes."""


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 — conditions of any kind
            await asyncio.sleep(0.005)


async def test_all_channels_together_hold_no_more_than_the_servers_limit() -> None:
    limits = ServerLimits(segment_bytes=1000, channel_bytes=1500, total_bytes=2000)

    async def post(name: str, seq: int, size: int) -> tuple[int, str]:
        url = wire.segment_url(server.channel_url(name), seq)
        async with http.post(url, data=b"x" * size) as response:
            return response.status, await response.text()

    async with aiohttp.ClientSession() as http, TrickleServer(limits=limits) as server:
        assert (await post("a", 0, 900))[0] == 200
        async with http.get(wire.segment_url(server.channel_url("a"), 0)) as reading:
            assert (await post("b", 0, 900))[0] == 200
            status, text = await post("c", 0, 500)
            assert (status, text) == (
                507,
                "the server may hold 2000 bytes of all channels (seq 0)\n",
            )
            # Whoever is there goes on: a channel makes room of its own, and readers are left alone.
            assert (await post("b", 1, 900))[0] == 200
            assert await reading.read() == b"x" * 900
        held = [channel.size for channel in server.channels]
        assert sum(held) == server._registry.stock.size <= 2000
        await server.close_channel("a")
        assert (await post("c", 1, 500))[0] == 200
        with pytest.raises(LimitExceeded, match="2000 bytes"):
            await server.create("d").write(b"x" * 900)


async def test_a_publisher_that_meets_a_full_server_counts_its_segment_and_goes_on() -> None:
    limits = ServerLimits(total_bytes=1000)
    async with TrickleServer(limits=limits) as server:
        await server.create("full").write(b"x" * 1000)
        url = server.channel_url("cam")
        async with TricklePublisher(url, create=True, linger=0) as publisher:
            segment = await publisher.write(b"y" * 500)
            with pytest.raises(SegmentFailed, match="507"):
                await segment.acknowledged()
            await server.close_channel("full")
            await (await publisher.write(b"z" * 500)).acknowledged()
            assert (publisher.stats.segments, publisher.stats.uncertain) == (1, 1)


async def test_a_connection_over_the_limit_is_told_so_and_leaves_the_others_alone() -> None:
    async with TrickleServer(limits=ServerLimits(connections=2)) as server:
        server.create("cam")
        host, _, port = server.url.removeprefix("http://").partition(":")

        async def ask() -> tuple[asyncio.StreamWriter, bytes]:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /cam/next HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(LIMIT):
                return writer, await reader.readline()

        first, answer = await ask()
        second, _ = await ask()
        assert answer == b"HTTP/1.1 200 OK\r\n"
        third, answer = await ask()
        assert answer == b"HTTP/1.1 503 Service Unavailable\r\n"
        first.close()
        await until(lambda: len(server._listener._open) == 1)  # type: ignore[union-attr]
        fourth, answer = await ask()
        assert answer == b"HTTP/1.1 200 OK\r\n"
        for writer in (second, third, fourth):
            writer.close()


async def test_a_head_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livepeer.trickle.server.listener.HEAD", 0.1)
    async with TrickleServer() as server:
        server.create("cam")
        host, _, port = server.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /cam/next HTTP/1.1\r\nHost: ")
        waiting, other = await asyncio.open_connection(host, int(port))
        other.write(b"GET /cam/-1 HTTP/1.1\r\nHost: x\r\n\r\n")  # it waits for its answer
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(LIMIT):
                assert await reader.read() == b""
        channel = server.get("cam")
        assert channel is not None
        await channel.write(b"x")
        async with asyncio.timeout(LIMIT):
            assert b"200 OK" in await waiting.readline()
        for each in (writer, other):
            each.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"no HTTP at all\r\n\r\n",
        b"GET /cam/next HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"GET /cam/next HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_answered_and_fills_no_log(
    request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with TrickleServer() as server:
        server.create("cam")
        host, _, port = server.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request_)
        async with asyncio.timeout(LIMIT):
            assert b" 400 " in await reader.readline()
        writer.close()
    assert not caplog.records
