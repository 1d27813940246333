"""Pictures and sound stay together, however long the model takes for each picture."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from livepeer.runner import AudioFrame, LivePipeline, VideoFrame
from livepeer.trickle.media import MediaSubscriber

RATE = 48_000
FPS = 25
SECONDS = 6


def beeps() -> Iterator[VideoFrame | AudioFrame]:
    """The number of each picture in its brightness; a beep of 100 ms at the start of each second,
    silence after it."""
    length = RATE // FPS
    for index in range(SECONDS * FPS):
        level = 40 + index * 3 % 180
        pixels = np.full((96, 160, 3), level, np.uint8)
        yield VideoFrame.from_ndarray(pixels, time=Fraction(index, FPS))
        at = (np.arange(length) + index * length) / RATE
        wave = np.where(at % 1 < 0.1, 0.5 * np.sin(2 * np.pi * 1000 * at), 0).astype(np.float32)
        yield AudioFrame.from_ndarray(wave[None], rate=RATE, time=Fraction(index, FPS))


def shown(frame: VideoFrame) -> int:
    """The number that a picture shows, modulo 60."""
    luma = float(frame.view()[0].mean())
    return round(((luma - 16) * 255 / 219 - 40) / 3) % 60


def onsets(frames: list[AudioFrame]) -> list[float]:
    """When each beep begins, by the time stamps of the sound around it."""
    found, quiet_since = [], float("-inf")
    for frame in frames:
        for position in np.flatnonzero(np.abs(frame.samples[0]) > 0.2):
            at = float(frame.time) + float(position) / frame.rate
            if at - quiet_since > 0.5:
                found.append(at)
            quiet_since = at
    return found


async def farthest_apart(url: str) -> float:
    """Seconds of presentation between the newest picture and the newest sound, at the worst."""
    worst = 0.0
    newest: dict[str, float] = {}
    # Each track as early as it comes; `all` would put them in order.
    async with MediaSubscriber(url, policy="latest", start=0) as frames:
        async for frame in frames:
            newest[type(frame).__name__] = float(frame.time)
            if len(newest) == 2:
                worst = max(worst, max(newest.values()) - min(newest.values()))
    return worst


class Wavers(LivePipeline):
    def setup(self) -> None:
        self.chance = random.Random(6)

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        time.sleep(self.chance.uniform(0.005, 0.080))  # a model that takes 5 to 80 ms
        return frame


class WaversLosslessly(Wavers):
    realtime = False


@pytest.mark.parametrize("cls", [Wavers, pytest.param(WaversLosslessly, marks=pytest.mark.slow)])
async def test_pictures_and_sound_stay_together_through_a_model_of_varying_latency(
    stage: Any, cls: type[Wavers]
) -> None:
    async with stage(cls) as it:
        await it.start("s")
        session = it.server.service.work.sessions["s"]
        output = asyncio.create_task(it.output("s"))
        apart = asyncio.create_task(farthest_apart(it.url("s-out")))
        await it.feed("s", beeps())
        out = await output
        worst = await apart
        await it.until(lambda: session.over)
    pictures = [frame for frame in out if isinstance(frame, VideoFrame)]
    sounds = [frame for frame in out if isinstance(frame, AudioFrame)]
    assert len(pictures) + session.status.dropped == SECONDS * FPS
    assert session.status.dropped == 0 or cls.realtime
    # A picture's time is still the one at which what it shows was fed, ...
    numbers = [round(frame.time * FPS) for frame in pictures]
    assert numbers == sorted(set(numbers))
    assert [shown(frame) for frame in pictures] == [number % 60 for number in numbers]
    # ... none of the sound is missing, ...
    assert sum(float(frame.duration) for frame in sounds) == pytest.approx(SECONDS, abs=0.1)
    # ... and each beep is where the picture of its second is, within what AAC blurs.
    began = onsets(sounds)
    assert len(began) == SECONDS
    for second, onset in enumerate(began):
        assert onset == pytest.approx(second, abs=0.025)
    # They come together, too: a player needs to hold neither back for long.
    assert 0 < worst < 0.5


class SlowModel(LivePipeline):
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        time.sleep(0.1)  # two and a half pictures
        return frame


async def test_a_slow_model_lowers_the_rate_and_not_the_latency(stage: Any, make_clip: Any) -> None:
    async with stage(SlowModel) as it:
        await it.start("s")
        output = asyncio.create_task(it.output("s"))
        session = it.server.service.work.sessions["s"]
        await it.feed("s", make_clip(75))
        out = await output
        await it.until(lambda: session.over)  # its figures are final then
    pictures = [frame for frame in out if isinstance(frame, VideoFrame)]
    sounds = [frame for frame in out if isinstance(frame, AudioFrame)]
    assert 10 <= len(pictures) <= 40
    assert session.status.dropped == 75 - len(pictures)
    assert sum(float(frame.duration) for frame in sounds) == pytest.approx(3.0, abs=0.1)
    # The hook's own time and little more; with a queue of the 45 that are too many it were seconds.
    assert session.status.latency_ms()["p95"] < 500
