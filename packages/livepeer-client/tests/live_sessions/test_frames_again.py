"""The output channel, when reading it has to begin again."""

from __future__ import annotations

import asyncio
from fractions import Fraction

import numpy as np

from livepeer.client.live.ending import Ending
from livepeer.client.live.media import Returned
from livepeer.client.live.output import Frames
from livepeer.trickle import TricklePublisher, TrickleServer
from livepeer.trickle.media import MediaPublisher, VideoFrame, VideoOutput
from livepeer.trickle.testing import FaultProxy

PICTURE = np.full((96, 160, 3), 120, np.uint8)


async def test_frames_that_are_read_again_never_step_back_in_time() -> None:
    """They were read up to the middle of a segment, and then somebody in between answered
    nonsense."""
    ending = Ending("tint")
    async with TrickleServer() as server, FaultProxy(server.url) as proxy:
        url = server.channel_url("out")
        output = VideoOutput(gop_seconds=1, fps=10)
        channel = TricklePublisher(url, create=True, linger=0)
        async with MediaPublisher(url, output=output, publisher=channel) as publisher:

            async def write(first: int, last: int) -> None:
                for number in range(first, last):
                    time = Fraction(number, 10)
                    await publisher.write(VideoFrame.from_ndarray(PICTURE, time=time))

            frames: Frames[VideoFrame] = Frames(
                proxy.rewrite(url), True, ending, Returned(), policy="all", start=0
            )
            await write(0, 15)
            times = [(await anext(frames)).time for _ in range(15)]
            before = proxy.requests
            proxy.answer(400, times=2)
            proxy.cut()
            following = asyncio.ensure_future(anext(frames))
            async with asyncio.timeout(30):
                while proxy.requests < before + 3:  # noqa: ASYNC110 — it is opened again
                    await asyncio.sleep(0.01)
            await write(15, 35)
            times.append((await following).time)
            times += [(await anext(frames)).time for _ in range(3)]
            await frames.aclose()
    assert times == sorted(set(times))
    assert times[15] >= Fraction(2)
