"""Cancelled at any of its awaits, also twice, nothing leaves a task, a socket or a user behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from livepeer.trickle import (
    JSONLPublisher,
    JSONLSubscriber,
    Timeouts,
    TrickleError,
    TricklePublisher,
    TrickleServer,
    TrickleSubscriber,
    relay,
)
from livepeer.trickle.media import MediaPublisher, MediaSubscriber, VideoFrame
from livepeer.trickle.testing import FaultProxy, ScriptedServer

AtEachWait = Callable[..., Coroutine[Any, Any, int]]

AGAIN = pytest.mark.parametrize(
    "again",
    [
        pytest.param(0, id="once"),
        pytest.param(1, id="and at the next", marks=pytest.mark.slow),
        pytest.param(2, id="and at the second", marks=pytest.mark.slow),
    ],
)
LIMITS = Timeouts(connect=5, write=2, answer=2, silence=5, outage=2)


@pytest.fixture
def served(elsewhere: Callable[..., TrickleServer]) -> TrickleServer:
    """A server on another event loop, with two segments in the channel `full`."""
    return elsewhere(_serve())


@asynccontextmanager
async def _serve() -> AsyncIterator[TrickleServer]:
    async with TrickleServer() as server:
        channel = server.create("full", "application/jsonl")
        await channel.write(b'{"a":1}\n')
        await channel.write(b'{"a":2}\n')
        yield server


@AGAIN
async def test_a_publisher(
    served: TrickleServer, cancelled_at_each_wait: AtEachWait, again: int
) -> None:
    async def publish() -> None:
        url = served.channel_url("cam")
        async with TricklePublisher(url, create=True, linger=0.001, timeouts=LIMITS) as publisher:
            for _ in range(2):
                async with publisher.segment() as segment:
                    await segment.write(b"x" * 3000)
                    await segment.write(b"y")
                await segment.acknowledged()

    assert await cancelled_at_each_wait(publish, again=again, allowed=(TrickleError,)) > 4


@AGAIN
async def test_a_subscriber(
    served: TrickleServer, cancelled_at_each_wait: AtEachWait, again: int
) -> None:
    async def subscribe() -> None:
        url = served.channel_url("full")
        async with TrickleSubscriber(url, start=0, timeouts=LIMITS) as segments:
            for _ in range(2):
                await (await anext(segments)).read()

    assert await cancelled_at_each_wait(subscribe, again=again) > 1


@AGAIN
@pytest.mark.parametrize(
    "alone",
    [
        pytest.param(False, id="lines"),
        pytest.param(True, id="one for each segment", marks=pytest.mark.slow),
    ],
)
async def test_a_publisher_of_records(
    served: TrickleServer, cancelled_at_each_wait: AtEachWait, again: int, alone: bool
) -> None:
    async def publish() -> None:
        url = served.channel_url(f"records{alone}")
        async with JSONLPublisher(
            url, one_per_segment=alone, create=True, linger=0.001, timeouts=LIMITS
        ) as records:
            await records.write({"a": 1})
            await asyncio.sleep(0)
            await records.write({"a": 2})
            await records.flush()
            await records.keep_alive()
            await records.write({"a": 3})

    assert await cancelled_at_each_wait(publish, again=again, allowed=(TrickleError,)) > 4


@AGAIN
async def test_a_subscriber_of_records(
    served: TrickleServer, cancelled_at_each_wait: AtEachWait, again: int
) -> None:
    async def subscribe() -> None:
        async with JSONLSubscriber(served.channel_url("full"), start=0, timeouts=LIMITS) as records:
            await anext(records)
            await anext(records)

    assert await cancelled_at_each_wait(subscribe, again=again) > 1


async def test_the_task_that_sends_records_goes_with_a_publisher_whose_closing_is_cancelled(
    served: TrickleServer,
) -> None:
    async with JSONLPublisher(
        served.channel_url("records"), create=True, linger=0, timeouts=LIMITS
    ) as records:
        await records.write({"a": 1})
        await records.flush()
        flusher = records._flusher
        assert flusher is not None  # it waits for the end of the segment
        async with records._lock:  # as something does that is being sent
            closing = asyncio.create_task(records.aclose())
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            await asyncio.sleep(0)
            assert flusher.cancelled()


async def test_closing_that_is_cancelled_waits_for_no_answer(served: TrickleServer) -> None:
    limits = Timeouts(connect=600, write=600, answer=600, silence=600, outage=600)
    async with FaultProxy(served.url) as proxy:
        url = proxy.rewrite(served.channel_url("frames"))
        inner = TricklePublisher(url, create=True, timeouts=limits)
        frames = await MediaPublisher(url, publisher=inner).__aenter__()
        records = JSONLPublisher(
            proxy.rewrite(served.channel_url("records")), create=True, timeouts=limits
        )
        await records.__aenter__()
        await records.write({"a": 1})
        await records.flush()
        await frames.write(VideoFrame.from_ndarray(np.zeros((32, 32), np.uint8), "gray", time=0))
        proxy.stall()
        async with records._lock:  # as something does that is being sent
            closing = [asyncio.create_task(each.aclose()) for each in (records, frames)]
            await asyncio.sleep(0)
            for task in closing:
                task.cancel()
            await asyncio.wait(closing, timeout=30)
        assert all(task.cancelled() for task in closing)


@pytest.mark.slow
@AGAIN
async def test_a_publisher_of_frames(
    served: TrickleServer, cancelled_at_each_wait: AtEachWait, again: int
) -> None:
    async def publish() -> None:
        url = served.channel_url("frames")
        inner = TricklePublisher(url, create=True, linger=0, timeouts=LIMITS)
        async with MediaPublisher(url, publisher=inner) as publisher:
            for index in range(3):
                frame = np.full((32, 32), 60 * index, np.uint8)
                await publisher.write(
                    VideoFrame.from_ndarray(frame, "gray", time=Fraction(index, 30))
                )

    assert await cancelled_at_each_wait(publish, again=again, allowed=(TrickleError,)) > 4
    assert not threads("livepeer-encode")


@AGAIN
async def test_a_subscriber_of_frames(
    served: TrickleServer, cancelled_at_each_wait: AtEachWait, again: int
) -> None:
    async def subscribe() -> None:
        # No segment of it is a stream: each is read, and comes to nothing.
        async with MediaSubscriber(served.channel_url("full"), start=0, timeouts=LIMITS) as frames:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(frames)

    assert await cancelled_at_each_wait(subscribe, again=again) > 1
    assert not threads("livepeer-decode")


def threads(name: str) -> list[threading.Thread]:
    """Those of that name that do not end."""
    found = [each for each in threading.enumerate() if each.name.startswith(name)]
    for each in found:
        each.join(10)
    return [each for each in found if each.is_alive()]


@pytest.mark.slow
@AGAIN
async def test_a_relay(
    served: TrickleServer, cancelled_at_each_wait: AtEachWait, again: int
) -> None:
    async def pass_on() -> None:
        async def first() -> None:
            async with asyncio.timeout(0.05):
                await relay(
                    served.channel_url("full"),
                    served.channel_url("copy"),
                    start=0,
                    create=True,
                    timeouts=LIMITS,
                )

        with pytest.raises(TimeoutError):
            await first()

    assert await cancelled_at_each_wait(pass_on, again=again, allowed=(TrickleError,)) > 4


@AGAIN
async def test_a_server(cancelled_at_each_wait: AtEachWait, again: int) -> None:
    async def serve() -> None:
        async with TrickleServer() as server:
            url = server.channel_url("cam")
            async with TricklePublisher(url, create=True, linger=0) as publisher:
                await publisher.write(b"x")
                await asyncio.sleep(0)

    assert await cancelled_at_each_wait(serve, again=again) > 4


@AGAIN
async def test_the_servers_of_tests(cancelled_at_each_wait: AtEachWait, again: int) -> None:
    async def serve() -> None:
        # Nobody connects: a connection that comes as asyncio's server closes is the collector's to
        # close (Python 3.11).
        async with ScriptedServer() as scripted, FaultProxy(scripted.url):
            await asyncio.sleep(0)

    assert await cancelled_at_each_wait(serve, again=again) > 2
