"""Both clients through every fault: nothing doubled, nothing lost uncounted, nothing hangs."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from livepeer.trickle import (
    SegmentFailed,
    Timeouts,
    TrickleError,
    TricklePublisher,
    TrickleServer,
    TrickleSubscriber,
    relay,
)
from livepeer.trickle.exceptions import public_url
from livepeer.trickle.testing import FaultProxy

Eventually = Callable[[Callable[[], object]], Awaitable[None]]

_LIMITS = Timeouts(connect=5, write=5, answer=5, silence=0.5, outage=20)


class Reader:
    """Reads a channel to its end, segment by segment."""

    def __init__(self, url: str) -> None:
        self.subscriber = TrickleSubscriber(url, start=0, on_gap="oldest", timeouts=_LIMITS)
        self.got: dict[int, bytes] = {}
        self.cut: set[int] = set()

    async def run(self) -> None:
        async with self.subscriber:
            async for segment in self.subscriber:
                assert segment.seq not in self.got, "a segment came twice"
                self.got[segment.seq] = b""
                try:
                    async for chunk in segment:
                        self.got[segment.seq] += chunk
                except SegmentFailed:
                    self.cut.add(segment.seq)


def _body(number: int) -> bytes:
    return b"%08d" % number * 2000


async def _publish(
    publisher: TricklePublisher, count: int, pause: float = 0.01
) -> dict[int, bytes]:
    """What was written, by number, of the segments that the writer saw succeed."""
    sent: dict[int, bytes] = {}
    for number in range(count):
        body = _body(number)
        try:
            async with publisher.segment() as segment:
                for start in range(0, len(body), 4000):
                    await segment.write(body[start : start + 4000])
                    await asyncio.sleep(pause / 4)
            await segment.acknowledged()
            sent[segment.seq] = body
        except SegmentFailed:
            continue
    return sent


_FAULTS: dict[str, Callable[[FaultProxy], Awaitable[None] | None]] = {
    "cut": lambda proxy: proxy.cut(),
    "cut mid-segment, to the client": lambda proxy: proxy.cut_after(500, to="client"),
    "cut mid-segment, to the server": lambda proxy: proxy.cut_after(7000, to="server"),
    "5xx": lambda proxy: proxy.answer(503, times=3),
    "5xx after a cut": lambda proxy: (proxy.answer(500, times=4), proxy.cut())[1],
    "470 storm": lambda proxy: proxy.answer(
        470, times=8, match=lambda method, path: method == "GET" and not path.endswith("next")
    ),
    "half-close": lambda proxy: proxy.half_close(),
}


async def _delay(proxy: FaultProxy) -> None:
    proxy.delay = 0.02
    await asyncio.sleep(0.3)
    proxy.delay = 0.0


async def _stall(proxy: FaultProxy) -> None:
    proxy.stall()
    await asyncio.sleep(0.4)
    proxy.resume()


async def _away(proxy: FaultProxy) -> None:
    await proxy.refuse()
    await asyncio.sleep(0.3)
    await proxy.accept()


_FAULTS |= {"delay": _delay, "stall": _stall, "away": _away}


async def _inject(proxy: FaultProxy, fault: str, times: int = 2) -> None:
    for _ in range(times):
        await asyncio.sleep(0.1)
        result = _FAULTS[fault](proxy)
        if result is not None:
            await result


@pytest.mark.parametrize("fault", _FAULTS)
async def test_a_publisher_loses_only_what_it_counts(
    server: TrickleServer, proxy: FaultProxy, fault: str, eventually: Eventually
) -> None:
    url = server.channel_url("cam")
    reader = Reader(url)
    async with asyncio.timeout(60):
        reading = asyncio.create_task(reader.run())
        async with TricklePublisher(proxy.rewrite(url), timeouts=_LIMITS, linger=0) as publisher:
            injecting = asyncio.create_task(_inject(proxy, fault))
            sent = await _publish(publisher, 20)
            await injecting
            await eventually(lambda: reader.got.get(max(sent)) == sent[max(sent)])
        await reading
    stats = publisher.stats
    assert len(sent) == stats.segments
    assert len(sent) + stats.uncertain == 20
    for seq, body in sent.items():
        assert reader.got.get(seq) == body, f"segment {seq} was acknowledged but did not arrive"
    whole = {_body(number) for number in range(20)}
    for seq, body in reader.got.items():
        assert any(full.startswith(body) for full in whole), f"segment {seq} is mixed up"
    assert len(sent) > 10


async def _has(reader: Reader, seq: int, body: bytes) -> bool:
    """Whether a segment comes, within what pauses of the reader take."""
    for _ in range(1000):
        if reader.got.get(seq) == body:
            return True
        await asyncio.sleep(0.005)
    return False


@pytest.mark.parametrize("fault", _FAULTS)
async def test_a_subscriber_loses_only_what_it_counts(
    server: TrickleServer, proxy: FaultProxy, fault: str
) -> None:
    url = server.channel_url("cam")
    reader = Reader(proxy.rewrite(url))
    async with asyncio.timeout(60):
        reading = asyncio.create_task(reader.run())
        async with TricklePublisher(url, timeouts=_LIMITS, linger=0) as publisher:
            injecting = asyncio.create_task(_inject(proxy, fault))
            sent = await _publish(publisher, 20, pause=0.02)
            await injecting
            # On a busy machine a fault outlasts them, and the reader may be sent past the newest
            # one, or lose its end: it has the next.
            while not await _has(reader, max(sent), sent[max(sent)]):
                sent |= await _publish(publisher, 1)
        await reading
    stats = reader.subscriber.stats
    assert len(sent) >= 20
    for seq, body in reader.got.items():
        if seq in reader.cut:
            assert sent[seq].startswith(body)
        else:
            assert body == sent[seq], f"segment {seq} is damaged"
    assert len(reader.got) + stats.gaps == max(reader.got) + 1
    assert stats.cut == len(reader.cut)
    assert max(reader.got) == max(sent)


async def test_both_clients_live_through_a_restart_of_the_server(
    proxy: FaultProxy, server: TrickleServer
) -> None:
    name = "restarted"
    url = proxy.rewrite(server.channel_url(name))
    async with (
        asyncio.timeout(60),
        TrickleServer() as other,
        TricklePublisher(url, create=True, linger=0.2, timeouts=_LIMITS) as publisher,
    ):
        before = await _publish(publisher, 5)
        proxy.upstream = other.url
        proxy.cut()
        after = await _publish(publisher, 8)
        assert other.get(name) is not None
    assert len(before) == 5
    assert len(after) >= 7
    assert len(before) + len(after) + publisher.stats.uncertain == 13


async def test_a_reader_follows_numbers_that_begin_anew(
    proxy: FaultProxy, server: TrickleServer
) -> None:
    name = "anew"
    url = proxy.rewrite(server.channel_url(name))
    async with (
        asyncio.timeout(60),
        TrickleServer() as other,
        TrickleSubscriber(url, start=0, timeouts=_LIMITS) as subscriber,
    ):
        old, new = server.create(name, "a/b"), other.create(name, "a/b")
        for number in range(7):
            await old.write(b"old%d" % number)
            assert await (await anext(subscriber)).read() == b"old%d" % number
        await new.write(b"new0")
        proxy.upstream = other.url
        proxy.cut()
        waiting = asyncio.create_task(anext(subscriber))
        await asyncio.sleep(0.3)
        await new.write(b"new1")
        assert await (await waiting).read() == b"new1"


async def test_a_relay_passes_every_byte_on(server: TrickleServer, eventually: Eventually) -> None:
    server.create("out", "video/MP2T")
    source, sink = server.channel_url("cam"), server.channel_url("out")
    bodies = [os.urandom(size) for size in (1, 1000, 300_000, 1_000_000)]
    reader = Reader(sink)
    async with asyncio.timeout(60):
        relaying = asyncio.create_task(relay(source, sink, start=0))
        reading = asyncio.create_task(reader.run())
        async with TricklePublisher(source, linger=0) as publisher:
            for body in bodies:
                async with publisher.segment() as segment:
                    await segment.write(body)
            await eventually(lambda: list(reader.got.values()) == bodies)
        stats = await relaying
        await reading
    assert list(reader.got.values()) == bodies
    assert stats.sink.segments == stats.source.segments == len(bodies)
    assert stats.sink.bytes == stats.source.bytes == sum(map(len, bodies))


async def test_a_relay_lives_through_cuts_on_both_sides(
    server: TrickleServer, proxy: FaultProxy
) -> None:
    server.create("out", "video/MP2T")
    source, sink = server.channel_url("cam"), server.channel_url("out")
    reader = Reader(sink)
    async with asyncio.timeout(60):
        relaying = asyncio.create_task(
            relay(proxy.rewrite(source), proxy.rewrite(sink), start=0, timeouts=_LIMITS)
        )
        reading = asyncio.create_task(reader.run())
        async with TricklePublisher(source, linger=3.0) as publisher:
            injecting = asyncio.create_task(_inject(proxy, "cut", 5))
            sent = await _publish(publisher, 20, pause=0.05)
            await injecting
        stats = await relaying
        await reading
    whole = set(sent.values())
    for body in reader.got.values():
        assert any(full.startswith(body) for full in whole)
    complete = [body for body in reader.got.values() if body in whole]
    assert len(complete) == len(set(complete))
    assert len(complete) >= stats.sink.segments - stats.source.cut
    assert len(complete) >= 10


async def test_a_relay_whose_source_is_missing_says_so(server: TrickleServer) -> None:
    with pytest.raises(TrickleError, match="missing"):
        await relay(server.channel_url("nope"), server.channel_url("cam"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@o:1/ai/trickle/cam-1", "https://***@o:1/ai/trickle/cam-1"),
        ("https://o/ai/trickle/session_usjg2mvo-in", "https://o/ai/trickle/session_***-in"),
        ("https://o/t/runner_1-a2b3c4d5e6f7a2b3-o2r", "https://o/t/runner_1-***-o2r"),
        ("https://o/ai/trickle/my-session", "https://o/ai/trickle/my-session"),
    ],
)
def test_a_url_is_shown_without_what_gives_access(url: str, shown: str) -> None:
    assert public_url(url) == shown
    assert shown in str(TrickleError("no", url=url))
