"""What goes into a stream: moving pictures at their pace, of one size or of changing ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livepeer.trickle.types import TLS

FRAMES_PER_SECOND = 15
SIZE = (192, 108)
MOST_FRAMES = 1_000_000


async def feed(
    url: str,
    sizes: Sequence[tuple[int, int]] = (SIZE,),
    frames: int = MOST_FRAMES,
    tls: TLS = True,
) -> None:
    """Publish `frames` pictures of each of `sizes` (width, height), one size after the other; the
    channel stays open."""
    import numpy as np

    from livepeer.trickle import TricklePublisher
    from livepeer.trickle.media import MediaPublisher, VideoFrame

    began, sent = time.monotonic(), 0
    for width, height in sizes:
        channel = TricklePublisher(url, delete_on_close=False, tls=tls)
        async with MediaPublisher(url, publisher=channel) as publisher:
            for _ in range(frames):
                picture = np.full((height, width, 3), sent % 256, np.uint8)
                at = Fraction(sent, FRAMES_PER_SECOND)
                await publisher.write(VideoFrame.from_ndarray(picture, time=at))
                sent += 1
                await asyncio.sleep(max(0.0, began + float(at) - time.monotonic()))


async def feed_bytes(url: str, segments: Sequence[bytes]) -> None:
    """Publish segments of anything; the channel stays open."""
    from livepeer.trickle import TricklePublisher

    async with TricklePublisher(url, delete_on_close=False) as publisher:
        for content in segments:
            async with publisher.segment() as segment:
                await segment.write(content)
