"""Publisher and subscriber under any order of writes, cuts, drops, deletes and restarts.

The claims: what was acknowledged is in the channel, once and whole; what a reader has is what was
written, in order, once; what it has not is counted; and nothing hangs.
"""

import asyncio
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livepeer.trickle import (
    ChannelClosed,
    ChannelNotFound,
    SegmentFailed,
    Timeouts,
    TricklePublisher,
    TrickleServer,
    TrickleSubscriber,
)
from livepeer.trickle.testing import FaultProxy

_LIMITS = Timeouts(connect=5, write=3, answer=3, silence=1.0, outage=5)
_STEPS = st.lists(
    st.sampled_from(
        [
            "write",
            "write",
            "write",
            "write slowly",
            "empty",
            "raise inside",
            "cancel inside",
            "cut the publisher",
            "cut the reader",
            "503 to both",
            "restart the publisher",
            "close a segment",
            "let time pass",
        ]
    ),
    min_size=1,
    max_size=14,
)


@dataclass
class World:
    server: TrickleServer
    publisher_proxy: FaultProxy
    reader_proxy: FaultProxy
    publisher: TricklePublisher | None = None
    number: int = 0
    sent: dict[int, tuple[bytes, bool]] = field(default_factory=dict)
    """By sequence number: what was written, and whether it was acknowledged whole."""
    uncertain: int = 0
    acknowledged: int = 0

    def body(self) -> bytes:
        self.number += 1
        return b"<%05d>" % self.number * 300

    async def step(self, name: str) -> None:
        if self.publisher is None:
            await self.restart()
        assert self.publisher is not None
        match name:
            case "cut the publisher":
                self.publisher_proxy.cut()
            case "cut the reader":
                self.reader_proxy.cut()
            case "503 to both":
                self.publisher_proxy.answer(503)
                self.reader_proxy.answer(503)
            case "restart the publisher":
                await self.stop()
            case "close a segment":
                channel = self.server.get("cam")
                if channel is not None:
                    await self.delete_pending()
            case "let time pass":
                await asyncio.sleep(0.02)
            case _:
                await self.write(name)

    async def delete_pending(self) -> None:
        """Somebody else closes the segment that the publisher has connected ahead."""
        import aiohttp

        assert self.publisher is not None
        url = f"{self.server.channel_url('cam')}/{max(0, self.publisher._channel.state.seq - 1)}"
        async with aiohttp.ClientSession() as session, session.delete(url) as response:
            await response.read()

    async def write(self, kind: str) -> None:
        assert self.publisher is not None
        body = b"" if kind == "empty" else self.body()
        whole = False
        segment = self.publisher.segment()
        written = b""
        try:
            async with segment:
                half = len(body) // 2
                for part in (body[:half], body[half:]):
                    written += part
                    await segment.write(part)
                    if kind == "write slowly":
                        await asyncio.sleep(0.01)
                    elif kind == "raise inside":
                        raise LookupError
                    elif kind == "cancel inside":
                        raise asyncio.CancelledError
            whole = True
            await segment.acknowledged()
        except (LookupError, asyncio.CancelledError):
            pass
        except SegmentFailed:
            whole = False
        if segment._post is not None:
            assert segment.seq not in self.sent, "a number was used twice"
            self.sent[segment.seq] = (written, whole)

    async def restart(self) -> None:
        url = self.publisher_proxy.rewrite(self.server.channel_url("cam"))
        self.publisher = TricklePublisher(url, delete_on_close=False, timeouts=_LIMITS)
        await self.publisher.__aenter__()

    async def stop(self) -> None:
        if self.publisher is not None:
            await self.publisher.aclose()
            self.uncertain += self.publisher.stats.uncertain
            self.acknowledged += self.publisher.stats.segments
            self.publisher = None


async def _read(url: str, got: list[tuple[int, bytes, bool]]) -> TrickleSubscriber:
    async with TrickleSubscriber(url, start=0, on_gap="oldest", timeouts=_LIMITS) as subscriber:
        async for segment in subscriber:
            data, cut = b"", False
            try:
                async for chunk in segment:
                    data += chunk
            except SegmentFailed:
                cut = True
            got.append((segment.seq, data, cut))
    return subscriber


async def _run(steps: list[str]) -> None:
    got: list[tuple[int, bytes, bool]] = []
    async with (
        asyncio.timeout(40),
        TrickleServer() as server,
        FaultProxy(server.url) as publisher_proxy,
        FaultProxy(server.url) as reader_proxy,
    ):
        server.create("cam", "video/MP2T")
        world = World(server, publisher_proxy, reader_proxy)
        reading = asyncio.create_task(_read(reader_proxy.rewrite(server.channel_url("cam")), got))
        try:
            for name in steps:
                await world.step(name)
            await world.stop()
            # A reader that keeps up has all before the channel goes.
            await asyncio.sleep(0.25)
            await server.close_channel("cam")
            subscriber = await reading
        except (ChannelClosed, ChannelNotFound):
            raise AssertionError("the channel was never deleted") from None
        finally:
            reading.cancel()
            await asyncio.wait((reading,))
    _check(world, got, subscriber)


def _check(world: World, got: list[tuple[int, bytes, bool]], subscriber: TrickleSubscriber) -> None:
    numbers = [seq for seq, _, _ in got]
    assert numbers == sorted(set(numbers)), "a segment came twice, or out of order"
    for seq, data, cut in got:
        written, whole = world.sent.get(seq, (b"", False))
        assert written.startswith(data), f"segment {seq} holds what was never written to it"
        if whole and not cut:
            assert data == written, f"segment {seq} was acknowledged, but is short"
    # Each number below the last is there, empty, or counted as a gap.
    if numbers:
        stats = subscriber.stats
        assert stats.segments + stats.empty + stats.gaps >= numbers[-1] + 1
        assert stats.segments == len(got)
        assert stats.cut == sum(cut for _, _, cut in got)
    complete = sum(whole for _, whole in world.sent.values())
    assert complete <= world.acknowledged
    assert len(world.sent) <= world.acknowledged + world.uncertain


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(_STEPS)
def test_nothing_is_lost_uncounted_nothing_doubled_nothing_hangs(steps: list[str]) -> None:
    asyncio.run(_run(steps))
