"""Our clients against any trickle server that makes channels on request:

    LIVEPEER_INTEROP_TRICKLE_URL=http://127.0.0.1:2939 scripts/test tests/interop

A URL with a path names the server's base path. Without the variable nothing runs.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator

import pytest

from livepeer.trickle import (
    ChannelNotFound,
    JSONLPublisher,
    JSONLSubscriber,
    TrickleError,
    TricklePublisher,
    TrickleSubscriber,
)

URL = os.environ.get("LIVEPEER_INTEROP_TRICKLE_URL", "").rstrip("/")

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not URL, reason="not run: LIVEPEER_INTEROP_TRICKLE_URL names no server"),
]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A channel that nobody has used."""
    async with asyncio.timeout(60):
        yield f"{URL}/interop-{uuid.uuid4().hex}"


async def _read(url: str) -> dict[int, bytes]:
    async with TrickleSubscriber(url, start=0) as subscriber:
        return {segment.seq: await segment.read() async for segment in subscriber}


async def test_every_byte_arrives_whatever_the_size_of_a_segment(url: str) -> None:
    bodies = [os.urandom(size) for size in (1, 1000, 65_536, 1_000_000, 5_000_000)]
    async with TricklePublisher(url, create=True) as publisher:
        reading = asyncio.create_task(_read(url))
        for body in bodies:
            segment = await publisher.write(body)
            await segment.acknowledged()
            await asyncio.sleep(0.05)
    assert await reading == dict(enumerate(bodies))
    assert (publisher.stats.segments, publisher.stats.uncertain) == (len(bodies), 0)


async def test_a_segment_is_read_while_it_is_written(url: str) -> None:
    async with (
        TricklePublisher(url, create=True, linger=0) as publisher,
        TrickleSubscriber(url, start=0) as subscriber,
        publisher.segment() as writing,
    ):
        await writing.write(b"one")
        reading = await anext(subscriber)
        for piece in (b"two", b"three"):
            assert await reading.receive()
            await writing.write(piece)


async def test_tiny_segments_keep_their_order_and_their_numbers(url: str) -> None:
    async with TricklePublisher(url, create=True) as publisher:
        async with TrickleSubscriber(url, start=0, on_gap="oldest") as subscriber:
            for number in range(100):
                await publisher.write(b"%d" % number)
                segment = await anext(subscriber)
                assert (segment.seq, await segment.read()) == (number, b"%d" % number)
    assert (subscriber.stats.gaps, publisher.stats.uncertain) == (0, 0)


async def test_records_arrive_whole_in_a_burst_and_one_by_one(url: str) -> None:
    for one_per_segment, count in ((False, 5000), (True, 20)):
        channel = f"{url}-{one_per_segment:d}"
        async with JSONLPublisher(channel, create=True, one_per_segment=one_per_segment) as writer:
            async with JSONLSubscriber(channel, start=0) as reader:

                async def write(writer: JSONLPublisher = writer, count: int = count) -> None:
                    for number in range(count):
                        await writer.write({"n": number})

                writing = asyncio.create_task(write())
                got = [(await anext(reader))["n"] for _ in range(count)]
                await writing
        assert got == list(range(count))


async def test_a_publisher_that_comes_again_goes_on_and_ends_what_was_left_open(url: str) -> None:
    first = TricklePublisher(url, create=True, delete_on_close=False)
    await first.__aenter__()
    await (await first.write(b"zero")).acknowledged()
    left = await first.segment().__aenter__()
    await left.write(b"half")
    async with TrickleSubscriber(url, start=1) as subscriber:
        segment = await anext(subscriber)
        assert await segment.receive() == b"half"
        # As if its process had died: the connection is gone, and the segment stays open.
        left._abort()
        async with TricklePublisher(url, linger=0.5) as second:
            async with second.segment() as writing:
                await writing.write(b"two")
                assert writing.seq == 2
            assert await segment.read() == b""
            later = await anext(subscriber)
            assert (later.seq, await later.read()) == (2, b"two")
    await first.aclose()


async def test_falling_out_of_the_ring_is_counted_and_no_failure(url: str) -> None:
    async with TricklePublisher(url, create=True, linger=0) as publisher:
        for number in range(12):
            await (await publisher.write(b"%d" % number)).acknowledged()
        async with TrickleSubscriber(url, start=0, on_gap="oldest") as subscriber:
            segment = await anext(subscriber)
            assert await segment.read() == b"%d" % segment.seq
            assert subscriber.stats.gaps == segment.seq >= 7
            assert subscriber.stats.resyncs >= 1


async def test_the_end_of_a_channel_reaches_its_readers(url: str) -> None:
    async with TricklePublisher(url, create=True, linger=0.5) as publisher:
        await (await publisher.write(b"x")).acknowledged()
        reading = asyncio.create_task(_read(url))
        waiting = TrickleSubscriber(url)
        getting = asyncio.create_task(anext(waiting, None))
        await asyncio.sleep(0.2)
    assert await reading == {0: b"x"}
    assert await getting is None
    await waiting.aclose()
    with pytest.raises(ChannelNotFound):
        async with TrickleSubscriber(url, start=0) as subscriber:
            await anext(subscriber)


async def test_a_cut_segment_is_uncertain_and_the_next_one_arrives(url: str) -> None:
    async with TricklePublisher(url, create=True, linger=0.5) as publisher:
        async with TrickleSubscriber(url, start=0) as subscriber:
            with pytest.raises(TrickleError):
                async with publisher.segment() as cut:
                    await cut.write(b"half")
                    segment = await anext(subscriber)
                    assert await segment.receive() == b"half"
                    cut._abort()
                    await cut.write(b"more")
            async with publisher.segment() as writing:
                await writing.write(b"whole")
            assert await segment.read() == b""
            later = await anext(subscriber)
            assert (later.seq, await later.read()) == (1, b"whole")
    assert publisher.stats.uncertain == 1
