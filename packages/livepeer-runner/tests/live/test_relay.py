"""A class without a hook, on a network that breaks off segments."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from livepeer.runner.live.relay import RelayFlow
from livepeer.runner.live.status import StreamStatus
from livepeer.trickle import TricklePublisher, TrickleServer, TrickleSubscriber
from livepeer.trickle.testing import FaultProxy


@pytest.mark.parametrize("publishes", [True, False])
async def test_a_segment_that_breaks_off_does_not_end_a_relay(publishes: bool) -> None:
    status = StreamStatus("relay", "s")
    async with TrickleServer() as server, FaultProxy(server.url) as proxy:
        url, out = server.channel_url("in"), server.channel_url("out")
        source = TrickleSubscriber(proxy.rewrite(url), start=0)
        sink = TricklePublisher(out, create=True, linger=0) if publishes else None
        async with TricklePublisher(url, create=True, linger=0.1) as publisher:
            relay = RelayFlow(status, source=source, sink=sink)
            running = asyncio.create_task(relay.run())
            async with publisher.segment() as segment:
                await segment.write(b"first")
                await _until(lambda: status.input.count == 1)
                # What is asked for again cannot be had any more.
                proxy.answer(404, match=lambda method, path: path.endswith("/in/0"))
                proxy.cut()
                await segment.write(b"lost")
            await _until(lambda: source.stats.cut == 1 or running.done())
            async with publisher.segment() as segment:
                await segment.write(b"second")
            await _until(lambda: status.input.count == 2 or running.done())
        async with asyncio.timeout(20):
            await running
    assert status.input.count == 2


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 — of another task
            await asyncio.sleep(0.01)
