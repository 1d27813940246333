from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np

from livepeer.runner import VideoFrame
from livepeer.runner.testing import run_live


def moving_colours(count: int = 30) -> Iterator[VideoFrame]:
    """A red, green and blue band that move to the right, 30 a second."""
    bands = np.zeros((180, 320, 3), np.uint8)
    for channel in range(3):
        bands[:, channel * 107 : (channel + 1) * 107, channel] = 220
    for number in range(count):
        yield VideoFrame.from_ndarray(np.roll(bands, 4 * number, axis=1), time=number / 30)


async def test_no_colour_is_left_and_the_brightness_stays(pipeline: ModuleType) -> None:
    source = list(moving_colours())
    brightness = [frame.planes[0].astype(int) for frame in source]
    result = await run_live(pipeline.LiveGrayscale, source)
    assert result.errors == []
    assert len(result.video) == len(source)
    for before, frame in zip(brightness, result.video, strict=True):
        y, u, v = frame.planes
        assert np.abs(u.astype(int) - 128).max() <= 1
        assert np.abs(v.astype(int) - 128).max() <= 1
        assert np.abs(y.astype(int) - before).mean() < 4
    assert np.ptp(result.video[0].to_ndarray("rgb24").astype(int), axis=2).max() <= 3


async def test_frames_keep_their_times(pipeline: ModuleType) -> None:
    result = await run_live(pipeline.LiveGrayscale, moving_colours())
    times = [frame.time - result.video[0].time for frame in result.video]
    np.testing.assert_allclose([float(time) for time in times], np.arange(30) / 30, atol=1e-3)
