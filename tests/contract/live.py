"""Pipelines to go live with, what is sent to them, and what is looked for in what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
from pydantic import BaseModel, Field

from livepeer.runner import AudioFrame, LivePipeline, VideoFrame

LIMIT = 60.0
WIDTH, HEIGHT = 160, 96


class TintParams(BaseModel):
    u: int = Field(128, ge=0, le=255)


class Tint(LivePipeline):
    """Colours the picture."""

    params: TintParams
    capacity = 8

    async def on_stream_start(self, params: TintParams) -> None:
        self.seen = 0
        await self.emit_data({"started": params.u})

    def on_control(self, message: dict[str, Any]) -> None:
        self.params = TintParams.model_validate(message)

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.seen += 1
        frame.planes[1][:] = self.params.u
        if self.seen % 10 == 0:
            self.emit_data({"seen": self.seen})
        return frame


class Lossless(Tint):
    """The same for those who would rather wait than miss a picture."""

    realtime = False

    async def on_params_update(self, params: TintParams) -> None:
        await self.emit_data({"u": params.u})


class Failing(LivePipeline):
    """Gives up at the first picture."""

    max_errors = 1

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        raise RuntimeError("a bug")


class Silent(LivePipeline):
    """Looks, and shows nothing."""

    realtime = False

    def process_video(self, frame: VideoFrame) -> None:
        return None


class Quieter(LivePipeline):
    """Sound alone, at half its volume."""

    realtime = False

    def process_audio(self, frame: AudioFrame) -> AudioFrame:
        frame.samples[:] *= 0.5
        return frame


class Listening(LivePipeline):
    """Tells what it is told."""

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame

    async def on_control(self, message: dict[str, Any]) -> None:
        await self.emit_data({"heard": message})


class Radio(LivePipeline):
    """Makes its own sound, and says what it plays."""

    async def generate(self) -> AsyncIterator[AudioFrame]:
        await self.emit_event({"type": "playing", "title": "A"})
        for i in range(100):
            times = np.arange(i * 960, (i + 1) * 960) / 48_000
            tone = np.sin(2 * np.pi * 440 * times).astype(np.float32) / 2
            yield AudioFrame.from_ndarray(tone, rate=48_000, time=i / 50)


PIPELINES = {
    "tint": Tint,
    "lossless": Lossless,
    "failing": Failing,
    "silent": Silent,
    "quieter": Quieter,
    "radio": Radio,
    "listening": Listening,
}


async def register(orchestrator: str, secret: str, containers: dict[str, str]) -> None:
    async with aiohttp.ClientSession() as session:
        for name, url in containers.items():
            async with session.post(
                f"{orchestrator}/capability/register",
                headers={"Authorization": secret},
                json={"name": name, "url": url, "capacity": 4, "price_per_unit": 0},
                ssl=False,
            ) as response:
                assert response.status == 200


def pictures(count: int, fps: int = 30) -> Iterator[VideoFrame]:
    for i in range(count):
        array = np.full((HEIGHT, WIDTH, 3), (i * 5) % 255, np.uint8)
        yield VideoFrame.from_ndarray(array, time=i / fps)


def with_sound(count: int) -> Iterator[VideoFrame | AudioFrame]:
    """Pictures at 30 a second, and a tone of 48 kHz beside them."""
    step = 48_000 // 30
    for i, frame in enumerate(pictures(count)):
        yield frame
        times = np.arange(i * step, (i + 1) * step) / 48_000
        tone = (0.4 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
        yield AudioFrame.from_ndarray(np.stack([tone, tone]), rate=48_000, time=i / 30)


def u_of(frame: VideoFrame) -> float:
    return float(np.mean(frame.planes[1]))


async def take(frames: Any, most: int = 1 << 30) -> list[Any]:
    found: list[Any] = []
    async with asyncio.timeout(LIMIT):
        async for frame in frames:
            found.append(frame)
            if len(found) == most:
                break
    return found


async def endless() -> AsyncIterator[np.ndarray[Any, Any]]:
    """Pictures for as long as anybody takes them; the session paces them."""
    while True:
        yield np.full((HEIGHT, WIDTH, 3), 100, np.uint8)


@asynccontextmanager
async def orchestrator_process(port: int = 0) -> AsyncIterator[Any]:
    """A local orchestrator that can be killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(port), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), LIMIT)).decode().strip()
        yield url, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


PROGRAM = """
import asyncio, sys
from livepeer.runner.devnet import LocalOrchestrator

async def main():
    async with LocalOrchestrator(port=int(sys.argv[1]), secret="s") as orchestrator:
        print(orchestrator.url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
