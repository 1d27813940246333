"""An author may draw on one frame again and again: what was returned is what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from livepeer.runner import AudioFrame, LivePipeline, VideoFrame, VideoOutput
from livepeer.runner.live.hooks import listed
from livepeer.runner.testing import run_live

Clip = Callable[..., Any]


def gray(level: int) -> VideoFrame:
    return VideoFrame.from_ndarray(np.full((360, 640, 3), level, np.uint8))


class OneCanvas(LivePipeline):
    """Paints the whole of one frame for each picture, which takes less time than to encode it."""

    output = VideoOutput(preset="medium", bitrate=8_000_000)

    def on_stream_start(self, params: Any) -> None:
        self.canvas = gray(0)
        self.count = 0

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.canvas.planes[0][:] = 40 + self.count % 2 * 150
        self.count += 1
        return self.canvas


async def test_a_frame_that_is_drawn_on_again_comes_out_whole_each_time(make_clip: Clip) -> None:
    result = await run_live(OneCanvas, make_clip(30, audio=False))
    assert result.errors == []
    assert len(result.video) == 30
    for number, frame in enumerate(result.video):
        luma = frame.view()[0].astype(int)
        assert abs(luma - (40 + number % 2 * 150)).max() < 12, number


class TwoFromOne(LivePipeline):
    def on_stream_start(self, params: Any) -> None:
        self.canvas = gray(0)

    def process_video(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        for half in range(2):
            self.canvas.planes[0][:] = 40 + half * 150
            self.canvas.time = frame.time + half * Fraction(1, 60)
            yield self.canvas


async def test_a_frame_that_is_yielded_twice_is_each_time_what_it_was(make_clip: Clip) -> None:
    result = await run_live(TwoFromOne, make_clip(10, audio=False))
    levels = [round(float(frame.view()[0].mean()) / 10) * 10 for frame in result.video]
    assert levels == [40, 190] * 10


class KeepsTheArray(LivePipeline):
    on_error = "drop"
    max_errors = 100

    def on_stream_start(self, params: Any) -> None:
        self.canvas = gray(90)
        self.luma = self.canvas.planes[0]

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.luma[:] = 190
        return self.canvas


async def test_an_array_of_a_returned_frame_refuses_to_be_written(make_clip: Clip) -> None:
    result = await run_live(KeepsTheArray, make_clip(10, audio=False))
    assert len(result.video) == 1
    assert result.errors[0]["message"] == "process_video raised ValueError"


class DrawsAndRaises(LivePipeline):
    max_errors = 100

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        frame.planes[0][:] = 235
        raise RuntimeError("half-way")


async def test_a_frame_whose_hook_raised_is_passed_on_as_it_came(make_clip: Clip) -> None:
    result = await run_live(DrawsAndRaises, make_clip(10, audio=False))
    plain = await run_live(OnlyPasses, make_clip(10, audio=False))
    for frame, other in zip(result.video, plain.video, strict=True):
        assert float(frame.view()[0].mean()) == pytest.approx(other.view()[0].mean(), abs=2)
    assert result.errors


class OnlyPasses(LivePipeline):
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


def test_sound_from_one_buffer_is_each_time_what_it_was() -> None:
    buffer = np.zeros((1, 480), np.float32)

    def hook() -> Iterator[AudioFrame]:
        for level in (0.25, 0.5):
            buffer[:] = level
            yield AudioFrame.from_ndarray(buffer, rate=48_000)

    assert [float(frame.samples.mean()) for frame in listed(hook())] == [0.25, 0.5]
