"""Frames on their way into and out of a live session, without a network."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from fractions import Fraction
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from livepeer.client.exceptions import ConfigurationError

if TYPE_CHECKING:
    # What comes with PyAV.
    from livepeer.trickle.media import AudioFrame, VideoFrame

    Frame = VideoFrame | AudioFrame

T = TypeVar("T")


def has_media() -> bool:
    """Whether the extra `media` is installed."""
    return all(find_spec(name) is not None for name in ("av", "numpy"))


def media() -> Any:
    """`livepeer.trickle.media`, or what to install."""
    if not has_media():
        raise ConfigurationError(
            "frames need PyAV: pip install 'livepeer-client[media]'"
            " (publish_segments, data, events and control work without)"
        )
    from livepeer.trickle import media

    return media


def codecs() -> None:
    """Load FFmpeg, open its encoder and its decoder once: what the first picture would wait for."""
    import numpy as np

    from livepeer.trickle.media import (
        MediaPublisher,  # noqa: F401 — loaded, with all that it needs
        MediaSubscriber,  # noqa: F401
        SegmentEncoder,
        StreamDecoder,
        VideoFrame,
    )

    picture = VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), time=0)
    decoder = StreamDecoder()
    for piece in SegmentEncoder(audio=None).encode(picture):
        decoder.feed(piece.data)


async def frames_of_file(path: str | os.PathLike[str], realtime: bool) -> AsyncGenerator[Frame]:
    """The frames of a media file, decoded on a thread; `realtime`: as fast as they are shown."""
    frames = media().decode(path)
    begun: float | None = None
    first: Any = None
    try:
        while (frame := await _on_a_thread(partial(next, frames, None))) is not None:
            if realtime:
                now = time.monotonic()
                if begun is None:
                    begun, first = now, frame.time
                wait = begun + float(frame.time - first) - now
                if wait > 0:
                    await asyncio.sleep(wait)
            yield frame
    finally:
        frames.close()


async def _on_a_thread(work: Callable[[], T]) -> T:
    """`work`'s result; whoever is cancelled leaves when the thread has, which nothing can stop."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    finally:
        if not running.done():
            await asyncio.wait((running,))


async def each_of(items: AsyncIterable[T] | Iterable[T]) -> AsyncGenerator[T]:
    """Either kind of iterable, as an asynchronous one."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
            await asyncio.sleep(0)  # a long list must not hold the loop up


def as_frame(item: Any) -> Frame:
    """A frame, also from a numpy picture (H, W, 3) RGB, which is given its time when it is sent."""
    if hasattr(item, "dtype") and hasattr(item, "ndim"):
        frame: Frame = media().VideoFrame.from_ndarray(item)
        return frame
    return item  # type: ignore[no-any-return]


class Returned:
    """How far the pictures that went in have come out again, by the times that they keep."""

    def __init__(self) -> None:
        self._latest: Fraction | None = None
        self._changed = asyncio.Event()

    def came(self, time: Fraction | None) -> None:
        if time is not None and (self._latest is None or time > self._latest):
            self._latest = time
            self._changed.set()

    async def reached(self, time: Fraction | None, seconds: float) -> None:
        """Until the picture of `time` has come out; `seconds` at most, for a pipeline that gives
        out pictures of its own, none, or to nobody here."""
        try:
            async with asyncio.timeout(seconds):
                while time is None or self._latest is None or self._latest < time:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
