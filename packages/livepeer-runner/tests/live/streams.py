"""Streams of a served live pipeline, over a real trickle server, and clips to send through them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import httpx
import numpy as np

from livepeer.runner.testing import LocalServer
from livepeer.trickle import JSONLPublisher, JSONLSubscriber, TricklePublisher, TrickleServer
from livepeer.trickle.media import AudioFrame, MediaPublisher, MediaSubscriber, VideoFrame

RATE = 48_000
LIMIT = 90.0
"""Seconds for what comes to its end by itself."""
KINDS = {"": "video/MP2T", "-out": "video/MP2T", "-control": "application/json"}
KINDS |= {"-events": "application/json", "-data": "application/jsonl"}


def picture(index: int, *, fps: int = 25, width: int = 160, height: int = 96) -> VideoFrame:
    """A picture whose mean brightness tells its number: 40, 43, 46, ..."""
    level = 40 + index * 3 % 180
    pixels = np.full((height, width, 3), level, np.uint8)
    return VideoFrame.from_ndarray(pixels, time=Fraction(index, fps))


def sound(index: int, *, fps: int = 25, hertz: float = 440) -> AudioFrame:
    """The sound of one picture's time."""
    count = RATE // fps
    at = (np.arange(count) + index * count) / RATE
    wave = (0.4 * np.sin(2 * np.pi * hertz * at)).astype(np.float32)
    return AudioFrame.from_ndarray(wave[None], rate=RATE, time=Fraction(index, fps))


def clip(
    count: int, *, fps: int = 25, video: bool = True, audio: bool = True, **size: int
) -> Iterator[VideoFrame | AudioFrame]:
    for index in range(count):
        if video:
            yield picture(index, fps=fps, **size)
        if audio:
            yield sound(index, fps=fps)


class Streams:
    """One orchestrator's side of a container: streams are started, fed, read and stopped."""

    def __init__(self, trickle: TrickleServer, http: httpx.AsyncClient) -> None:
        self.trickle = trickle
        self.http = http

    def url(self, name: str) -> str:
        return self.trickle.channel_url(name)

    async def post(
        self, route: str, stream: str | None = None, content: Any = None
    ) -> httpx.Response:
        headers = {} if stream is None else {"X-Stream-Id": stream}
        return await self.http.post(f"/stream/{route}", headers=headers, json=content)

    def channels(self, stream: str, *, without: tuple[str, ...] = ()) -> dict[str, str]:
        """Make a stream's channels, and the body that names them."""
        names = {
            "subscribe_url": "",
            "publish_url": "-out",
            "control_url": "-control",
            "events_url": "-events",
            "data_url": "-data",
        }
        wanted = {key: ending for key, ending in names.items() if key not in without}
        for ending in wanted.values():
            self.trickle.create(stream + ending, KINDS[ending])
        return {key: self.url(stream + ending) for key, ending in wanted.items()}

    async def start(
        self, stream: str = "s", *, params: Any = None, without: tuple[str, ...] = ()
    ) -> httpx.Response:
        body = {"gateway_request_id": stream, **self.channels(stream, without=without)}
        return await self.post("start", stream, {**body, "params": params})

    async def feed(self, stream: str, frames: Any, *, speed: float | None = 1.0) -> None:
        """Publish frames at the pace of their times, then end the input."""
        loop = asyncio.get_running_loop()
        begin: float | None = None
        channel = TricklePublisher(self.url(stream), linger=0.1)
        async with MediaPublisher(channel.url, publisher=channel) as publisher:
            for frame in frames:
                begin = loop.time() if begin is None else begin
                if speed is not None:
                    await asyncio.sleep(begin + float(frame.time) / speed - loop.time())
                await publisher.write(frame)

    async def output(self, stream: str) -> list[Any]:
        """What comes out, up to the end of the channel."""
        url = self.url(f"{stream}-out")
        async with (
            asyncio.timeout(LIMIT),
            MediaSubscriber(url, policy="all", start=0) as frames,
        ):
            return [frame async for frame in frames]

    async def watch(self, stream: str, into: list[VideoFrame]) -> None:
        """The pictures that come out, as they come."""
        async with MediaSubscriber(self.url(f"{stream}-out"), policy="all", start=0) as frames:
            async for frame in frames:
                if isinstance(frame, VideoFrame):
                    into.append(frame)  # noqa: PERF401 — looked at while it grows

    async def records(self, channel: str) -> list[dict[str, Any]]:
        async with asyncio.timeout(LIMIT), JSONLSubscriber(self.url(channel), start=0) as records:
            return [record async for record in records]

    async def event(self, stream: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next event that is wanted."""
        async with (
            asyncio.timeout(30),
            JSONLSubscriber(self.url(f"{stream}-events"), start="current") as events,
        ):
            async for event in events:
                if wanted(event):
                    return event
        raise AssertionError("the events ended before it came")

    def control(self, stream: str) -> JSONLPublisher:
        return JSONLPublisher(self.url(f"{stream}-control"), one_per_segment=True, linger=0.1)

    async def until(self, condition: Callable[[], bool], limit: float = 30) -> None:
        await until(condition, limit)


class Stage(Streams):
    """The container is on this process's other thread, and can be looked into."""

    def __init__(self, server: LocalServer, trickle: TrickleServer, http: httpx.AsyncClient):
        super().__init__(trickle, http)
        self.server = server

    @property
    def free(self) -> int:
        return self.server.service.lifecycle.slots.free

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The container's loop, which is another thread's."""
        loop = self.server._loop
        assert loop is not None
        return loop


async def until(condition: Callable[[], bool], limit: float = 30) -> None:
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110 — what it looks at is another thread's
            await asyncio.sleep(0.01)
