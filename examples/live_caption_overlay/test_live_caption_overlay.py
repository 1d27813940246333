"""Thirteen seconds of speech under a plain picture: the words have to appear in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from livepeer.runner import AudioFrame, VideoFrame
from livepeer.runner.testing import LiveResult, run_live
from livepeer.trickle.media import decode

SPEECH = Path(__file__).parents[1] / "media/speech.flac"
WIDTH, HEIGHT, FPS = 640, 360, 10
GREY = 120


def clip(seconds: float) -> Iterator[VideoFrame | AudioFrame]:
    pictures = iter(range(int(seconds * FPS)))
    picture = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    due = next(pictures)
    for sound in decode(SPEECH):
        assert isinstance(sound, AudioFrame)
        while due is not None and due / FPS <= sound.time:
            yield VideoFrame.from_ndarray(picture, time=due / FPS)
            due = next(pictures, None)
        if sound.time >= seconds:
            return
        yield sound


def bar(frame: VideoFrame) -> np.ndarray:
    return frame.planes[0][int(HEIGHT * 0.88) :, :].astype(int)


def captioned(frame: VideoFrame) -> bool:
    """The bar is there: nearly black, with some white in it."""
    luma = bar(frame)
    return bool(np.median(luma) < 40 and luma.max() > 180)


async def caption(pipeline: ModuleType, seconds: float) -> LiveResult:
    return await run_live(pipeline.LiveCaptionOverlay, clip(seconds))


async def test_words_appear_in_the_picture_once_they_are_spoken(pipeline: ModuleType) -> None:
    result = await caption(pipeline, 6.5)
    assert result.errors == []
    shown = [captioned(frame) for frame in result.video]
    start = result.video[0].time
    first = next(frame.time - start for frame in result.video if captioned(frame))
    assert 0.5 < first < 2.5  # the first word is spoken half a second into the clip
    assert not any(shown[:5])
    assert all(shown[shown.index(True) :])


async def test_the_caption_changes_with_what_is_said(pipeline: ModuleType) -> None:
    result = await caption(pipeline, 6.5)
    early = next(frame for frame in result.video if captioned(frame))
    late = result.video[-1]
    changed = np.abs(bar(early) - bar(late)) > 90
    assert changed.sum() > 200


async def test_the_picture_above_the_bar_and_the_sound_stay(pipeline: ModuleType) -> None:
    result = await caption(pipeline, 3)
    above = result.video[-1].planes[0][: int(HEIGHT * 0.8)].astype(int)
    assert np.abs(above - result.video[0].planes[0][: int(HEIGHT * 0.8)].astype(int)).max() < 8
    sound = np.concatenate([frame.samples[0] for frame in result.audio])
    assert len(sound) / result.audio[0].rate == pytest.approx(3, abs=0.2)
    assert np.abs(sound).max() > 0.1
