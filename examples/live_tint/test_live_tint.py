from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest

from livepeer.runner import VideoFrame
from livepeer.runner.testing import run_live


def gray_clip(seconds: float = 2) -> Iterator[VideoFrame]:
    picture = np.tile(np.linspace(30, 220, 320).astype(np.uint8)[None, :, None], (180, 1, 3))
    for number in range(int(30 * seconds)):
        yield VideoFrame.from_ndarray(picture, time=number / 30)


def tint(frame: VideoFrame) -> tuple[float, float]:
    _, u, v = frame.planes
    return float(u.mean()), float(v.mean())


async def test_the_stream_starts_in_the_colour_it_was_given(pipeline: ModuleType) -> None:
    result = await run_live(pipeline.LiveTint, gray_clip(1), params={"u": 90, "v": 200})
    assert len(result.video) == 30
    for frame in result.video:
        assert tint(frame) == pytest.approx((90, 200), abs=2)


async def test_an_update_mid_stream_changes_only_what_it_names(pipeline: ModuleType) -> None:
    result = await run_live(
        pipeline.LiveTint, gray_clip(2), params={"u": 90, "v": 200}, updates=[(1, {"u": 180})]
    )
    assert tint(result.video[15]) == pytest.approx((90, 200), abs=2)
    assert tint(result.video[45]) == pytest.approx((180, 200), abs=2)
    first = next(n for n, frame in enumerate(result.video) if tint(frame)[0] > 135)
    assert 28 <= first <= 32


async def test_a_bad_update_is_reported_and_changes_nothing(pipeline: ModuleType) -> None:
    result = await run_live(
        pipeline.LiveTint, gray_clip(1), params={"u": 90}, updates=[(0.5, {"u": 300})]
    )
    assert tint(result.video[-1]) == pytest.approx((90, 128), abs=2)
    (error,) = result.errors
    assert "u" in str(error)


async def test_two_streams_at_once_keep_their_own_colours(pipeline: ModuleType) -> None:
    colours = ((60, 128), (200, 128))
    results = await asyncio.gather(
        *(run_live(pipeline.LiveTint, gray_clip(1), params={"u": u, "v": v}) for u, v in colours)
    )
    for colour, result in zip(colours, results, strict=True):
        assert tint(result.video[-1]) == pytest.approx(colour, abs=2)
