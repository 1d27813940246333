"""The data channel, when reading it has to begin again."""

from __future__ import annotations

import asyncio

import pytest

from livepeer.client.live.channels import records
from livepeer.client.live.ending import Ending
from livepeer.trickle import JSONLPublisher, TrickleServer
from livepeer.trickle.testing import FaultProxy


async def test_a_data_channel_that_is_opened_again_repeats_no_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was read up to the middle of a segment, and then somebody in between answered nonsense."""
    monkeypatch.setattr("livepeer.trickle.jsonl_publisher._SEGMENT_SECONDS", 60)
    ending = Ending("tint")
    async with TrickleServer() as server, FaultProxy(server.url) as proxy:
        url = server.channel_url("data")
        async with JSONLPublisher(url, create=True, linger=0) as publisher:
            reading = records(proxy.rewrite(url), True, ending)
            got = []
            for number in range(3):
                await publisher.write({"n": number})
                got.append((await anext(reading))["n"])
            before = proxy.requests
            proxy.answer(400, times=2)
            proxy.cut()
            following = asyncio.ensure_future(anext(reading))
            async with asyncio.timeout(30):
                while proxy.requests < before + 3:  # noqa: ASYNC110 — it is opened again
                    await asyncio.sleep(0.01)
                await publisher.keep_alive()  # which ends the segment that it had begun to read
                await publisher.write({"n": 3})
            got.append((await following)["n"])
            ending.finish("it was stopped", lost=False)
            await reading.aclose()
    assert got == [0, 1, 2, 3]
