"""Records under any order of writes, bursts, flushes, keepalives, cancellations and pauses.

The claim: what was written arrives by itself, once and in order. No later call is needed for it.
"""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livepeer.trickle import JSONLPublisher, JSONLSubscriber, TrickleServer, jsonl_publisher

_LIMIT = 20.0
"""Seconds; far more than anything here takes."""

_STEPS = st.lists(
    st.sampled_from(
        ["write", "write", "burst", "burst", "flush", "keep alive", "cancel", "turn", "pause"]
    ),
    min_size=1,
    max_size=12,
)


@pytest.fixture(scope="module", autouse=True)
def small_segments() -> Iterator[None]:
    """So that a dozen records pass every limit, and a segment's time is over at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl_publisher, "_FLUSH_AT", 300)
        patch.setattr(jsonl_publisher, "_SEGMENT_SIZE", 900)
        patch.setattr(jsonl_publisher, "_SEGMENT_SECONDS", 0.02)
        yield


class World:
    def __init__(self, publisher: JSONLPublisher) -> None:
        self.publisher = publisher
        self.written = 0

    async def write(self) -> None:
        self.written += 1
        await self.publisher.write({"n": self.written - 1, "pad": "x" * 40})

    async def step(self, name: str) -> None:
        match name:
            case "write":
                await self.write()
            case "burst":
                for _ in range(30):
                    await self.write()
            case "flush":
                await self.publisher.flush()
            case "keep alive":
                await self.publisher.keep_alive()
            case "cancel":
                writing = asyncio.create_task(self.step("burst"))
                await asyncio.sleep(0)
                writing.cancel()
                await asyncio.wait((writing,))
            case "turn":
                await asyncio.sleep(0)
            case _:
                await asyncio.sleep(0.03)  # longer than a segment


async def _read(subscriber: JSONLSubscriber, got: list[int]) -> None:
    async with subscriber:
        async for record in subscriber:
            got.append(record["n"])  # noqa: PERF401 — it is looked at meanwhile


async def _run(steps: list[str]) -> None:
    got: list[int] = []
    async with asyncio.timeout(_LIMIT), TrickleServer() as server:
        url = server.channel_url("records")
        server.create("records")
        subscriber = JSONLSubscriber(url, start=0)
        reading = asyncio.create_task(_read(subscriber, got))
        async with JSONLPublisher(url, linger=0) as publisher:
            world = World(publisher)
            for name in steps:
                await world.step(name)
            await world.write()
            while not got or got[-1] != world.written - 1:  # noqa: ASYNC110 — no call but this
                await asyncio.sleep(0.002)
            assert publisher.stats.uncertain == 0
        await reading
    assert got == sorted(set(got)), "a record came twice, or out of order"
    if not subscriber.transport.stats.gaps:
        assert got == list(range(world.written))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(_STEPS)
def test_what_was_written_arrives_by_itself_once_and_in_order(steps: list[str]) -> None:
    asyncio.run(_run(steps))


async def test_a_record_after_a_burst_arrives_without_a_flush() -> None:
    await _run(["burst"] * 20 + ["pause", "write", "pause"])
