"""What a builder gets wrong in the first days is refused at once, with what would be right."""

import asyncio

import numpy as np
import pytest

from livepeer.trickle import TrickleServer
from livepeer.trickle.media import MediaPublisher, MediaSubscriber, VideoFrame

LIMIT = 120


def picture(width: int = 160, height: int = 96) -> VideoFrame:
    return VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8))


# --- subscribers and publishers ----------------------------------------------------------------


async def test_a_second_task_that_iterates_is_refused_and_the_first_goes_on() -> None:
    async with TrickleServer() as server:
        server.create("in")
        url = server.channel_url("in")
        async with MediaSubscriber(url, start=0) as frames:
            first = asyncio.create_task(anext(frames))
            await asyncio.sleep(0)  # it runs up to where it waits
            with pytest.raises(RuntimeError, match="another task is waiting"):
                await anext(frames)
            async with MediaPublisher(url) as publisher:
                await publisher.write(picture())
                await publisher.write(picture())
                async with asyncio.timeout(LIMIT):
                    assert isinstance(await first, VideoFrame)


async def test_a_task_may_take_over_from_one_that_was_cancelled() -> None:
    async with TrickleServer() as server:
        server.create("in")
        url = server.channel_url("in")
        async with MediaSubscriber(url, start=0) as frames:
            first = asyncio.create_task(anext(frames))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait((first,))
            async with MediaPublisher(url) as publisher:
                await publisher.write(picture())
                await publisher.write(picture())
                async with asyncio.timeout(LIMIT):
                    assert isinstance(await anext(frames), VideoFrame)
