from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest

from livepeer.runner import AudioFrame, VideoFrame
from livepeer.runner.testing import LiveResult, run_live

RATE = 48_000
TONE = 440.0
SECONDS = 4
BEEP = (2.0, 2.25)
"""In these seconds the picture is white, and the tone is louder."""


def clip() -> Iterator[VideoFrame | AudioFrame]:
    """A tone of 440 Hz in stereo, and a black picture; both mark the beep."""
    for number in range(SECONDS * 50):
        start = number / 50
        beep = BEEP[0] <= start < BEEP[1]
        if number % 2 == 0:
            picture = np.full((120, 160, 3), 235 if beep else 16, np.uint8)
            yield VideoFrame.from_ndarray(picture, time=start)
        at = start + np.arange(RATE // 50) / RATE
        wave = (0.8 if beep else 0.05) * np.sin(2 * np.pi * TONE * at)
        yield AudioFrame.from_ndarray(
            np.stack([wave, wave]).astype(np.float32), rate=RATE, time=start
        )


def sound(result: LiveResult) -> np.ndarray:
    return np.concatenate([frame.samples[0] for frame in result.audio])


def pitch(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency, in Hz."""
    strength = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / rate)[strength.argmax()])


def semitones(frequency: float) -> float:
    return float(12 * np.log2(frequency / TONE))


@pytest.mark.parametrize("shift", [-5, 12])
@pytest.mark.slow
async def test_the_tone_is_as_many_semitones_higher_as_was_asked(
    pipeline: ModuleType, shift: float
) -> None:
    result = await run_live(pipeline.AudioPitch, clip(), params={"semitones": shift})
    assert result.errors == []
    samples, rate = sound(result), result.audio[0].rate
    middle = samples[rate // 2 : -rate // 2]
    assert semitones(pitch(middle, rate)) == pytest.approx(shift, abs=0.1)
    assert len(samples) / rate == pytest.approx(SECONDS, abs=0.15)


@pytest.mark.slow
async def test_the_sound_stays_with_the_picture(pipeline: ModuleType) -> None:
    result = await run_live(pipeline.AudioPitch, clip(), params={"semitones": -12})
    assert len(result.video) == SECONDS * 25
    white = next(frame.time for frame in result.video if frame.planes[0].mean() > 128)
    samples, rate = sound(result), result.audio[0].rate
    loudness = np.sqrt((samples[: len(samples) // 480 * 480].reshape(-1, 480) ** 2).mean(axis=1))
    loud = result.audio[0].time + int(np.argmax(loudness > 0.3)) * 480 / rate
    assert float(loud - white) == pytest.approx(0, abs=0.08)


async def test_an_update_changes_the_pitch_from_there_on(pipeline: ModuleType) -> None:
    result = await run_live(pipeline.AudioPitch, clip(), updates=[(2.5, {"semitones": 12})])
    samples, rate = sound(result), result.audio[0].rate
    assert semitones(pitch(samples[: 2 * rate], rate)) == pytest.approx(0, abs=0.1)
    assert semitones(pitch(samples[int(2.8 * rate) :], rate)) == pytest.approx(12, abs=0.1)
    assert len(samples) / rate == pytest.approx(SECONDS, abs=0.15)
