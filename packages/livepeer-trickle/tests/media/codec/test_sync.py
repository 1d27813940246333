"""Sound and pictures stay together: clicks and flashes, gaps, drift, changes of rate and layout."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from livepeer.trickle.media import (
    AudioFrame,
    AudioOutput,
    SegmentEncoder,
    StreamDecoder,
    VideoFrame,
)

RATE = 48_000


def sound(samples: NDArray[np.float32], time: Fraction, rate: int = RATE) -> AudioFrame:
    return AudioFrame.from_ndarray(samples, rate=rate, time=time)


def through(items: list[Any], audio: AudioOutput | None = None) -> list[Any]:
    encoder, decoder = SegmentEncoder(audio=audio or AudioOutput()), StreamDecoder()
    data = b"".join(p.data for item in items for p in encoder.encode(item))
    data += b"".join(p.data for p in encoder.flush())
    return [*decoder.feed(data), *decoder.flush()]


def loudness(items: list[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Times in seconds and absolute values of every sample that was decoded."""
    frames = [item for item in items if isinstance(item, AudioFrame)]
    times = [float(f.time) + np.arange(len(f)) / f.rate for f in frames]
    return np.concatenate(times), np.concatenate([np.abs(f.samples[0]) for f in frames])


@pytest.mark.parametrize("codec", ["aac", "libopus"])
@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("size", [441, 960, 1024, 4096])
def test_a_click_is_heard_while_its_flash_is_seen(codec: Any, rate: int, size: int) -> None:
    clicks = [Fraction(k) + Fraction(1, 2) for k in range(1, 5)]
    wave = np.zeros((2, rate * 5), np.float32)
    for click in clicks:
        at = round((click - 1) * rate)
        wave[:, at : at + rate // 200] = 0.8
    items: list[Any] = [
        sound(wave[:, i : i + size], 1 + Fraction(i, rate), rate)
        for i in range(0, wave.shape[1], size)
    ]
    for i in range(150):
        time = 1 + Fraction(i, 30)
        bright = any(click <= time < click + Fraction(1, 30) for click in clicks)
        picture = np.full((96, 160), 235 if bright else 16, np.uint8)
        items.append(VideoFrame.from_ndarray(picture, "gray", time=time))
    items.sort(key=lambda item: item.time)
    came = through(items, AudioOutput(codec=codec))
    flashes = [
        float(f.time) for f in came if isinstance(f, VideoFrame) and f.view()[0].mean() > 120
    ]
    times, level = loudness(came)
    assert len(flashes) == len(clicks)
    for click, flash in zip(clicks, flashes, strict=True):
        near = (times > float(click) - 0.3) & (times < float(click) + 0.3)
        onset = times[near][np.argmax(level[near] > 0.3)]
        assert abs(flash - float(click)) < 1e-4
        assert abs(onset - flash) < 0.004


def test_after_a_gap_sound_is_where_its_time_says() -> None:
    items = []
    for i in range(200):
        if 60 <= i < 110:
            continue
        # The last one before the gap is heard to its end.
        wave = np.full((1, 960), 0.5 if i in (50, 59, 150) else 0.0, np.float32)
        items.append(sound(wave, 1 + Fraction(i, 50)))
    times, level = loudness(through(items))
    for i in (50, 150):
        begin = 1 + i / 50
        near = (times > begin - 0.2) & (times < begin + 0.2)
        assert abs(times[near][np.argmax(level[near] > 0.25)] - begin) < 0.004
    # The hole stays a hole: nothing was invented, nothing was moved into it.
    assert not ((times > 2.3) & (times < 3.1)).any()
    loud = times[(level > 0.25) & (times > 2.1) & (times < 3.5)]
    assert abs(loud.min() - 2.18) < 0.004
    assert abs(loud.max() - 2.2) < 0.004


def test_a_clock_that_drifts_is_followed() -> None:
    """A source whose samples last 0.1 % longer than they say: 60 ms in a minute."""
    items = []
    for i in range(1500):
        wave = np.full((1, 960), 0.5 if i == 1450 else 0.0, np.float32)
        items.append(sound(wave, 1 + Fraction(i, 50) * Fraction(1001, 1000)))
    times, level = loudness(through(items))
    expected = 1 + 1450 / 50 * 1.001
    assert abs(times[np.argmax(level > 0.25)] - expected) < 0.005


@pytest.mark.parametrize("codec", ["aac", "libopus"])
@pytest.mark.parametrize("back", [15, 60, 95, 250])
@pytest.mark.parametrize("size", [960, 4800, 14400])
def test_sound_whose_times_step_back_stays_in_order_and_in_sync(
    codec: Any, back: int, size: int
) -> None:
    """Milliseconds back in mid-stream: what is there already is left out, the rest is in time."""
    count = 3 * RATE // size
    items = []
    for i in range(2 * count):
        time = 1 + Fraction(i * size, RATE) - Fraction(back, 1000) * (i >= count)
        wave = np.zeros((1, size), np.float32)
        if i == 2 * count - 2:
            wave[:, :480] = 0.5
            click = float(time)
        items.append(sound(wave, time))
    came = through(items, AudioOutput(codec=codec))
    frames = [item for item in came if isinstance(item, AudioFrame)]
    for a, b in itertools.pairwise(frames):
        assert b.time >= a.time + a.duration - Fraction(11, 1000)
    times, level = loudness(came)
    assert abs(times[np.argmax(level > 0.25)] - click) < 0.005
    heard = sum(float(frame.duration) for frame in frames)
    assert abs(heard - 2 * count * size / RATE + back / 1000) < 0.1 + size / RATE


def test_sound_whose_clock_starts_again_is_whole() -> None:
    encoder, decoder = SegmentEncoder(None, AudioOutput()), StreamDecoder()
    items = [quiet(start + Fraction(i, 50)) for start in (5, 1) for i in range(100)]
    pieces = [piece for item in items for piece in encoder.encode(item)] + encoder.flush()
    frames = [*decoder.feed(b"".join(piece.data for piece in pieces)), *decoder.flush()]
    assert decoder.stats.clock_restarts == 1
    heard = sum(len(frame) for frame in frames if isinstance(frame, AudioFrame))
    assert abs(heard - 4 * RATE) < 4096


def quiet(time: Fraction) -> AudioFrame:
    return sound(np.zeros((1, 960), np.float32), time)


def test_times_rounded_to_milliseconds_do_not_tear_the_sound() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(44_100 * 3) / 44_100).astype(np.float32) * 0.5
    items = []
    for i in range(0, len(tone), 1024):
        milliseconds = round(i * 1000 / 44_100)
        part = tone[np.newaxis, i : i + 1024]
        items.append(sound(part, 1 + Fraction(milliseconds, 1000), 44_100))
    frames = [f for f in through(items) if isinstance(f, AudioFrame)]
    for a, b in itertools.pairwise(frames):
        assert abs(b.time - a.time - Fraction(1024, 44_100)) <= Fraction(2, 90_000)


def test_a_change_of_rate_and_layout_keeps_the_outgoing_format_and_the_time() -> None:
    items = []
    for i in range(150):
        rate, channels = ((48_000, 2), (44_100, 1), (16_000, 2))[i // 50]
        wave = np.full((channels, rate // 50), 0.5 if i % 50 == 25 else 0.0, np.float32)
        items.append(sound(wave, 1 + Fraction(i, 50), rate))
    came = through(items)
    frames = [f for f in came if isinstance(f, AudioFrame)]
    assert {(f.rate, f.layout) for f in frames} == {(48_000, "stereo")}
    times, level = loudness(came)
    for i in (25, 75, 125):
        begin = 1 + i / 50
        near = (times > begin - 0.2) & (times < begin + 0.2)
        assert abs(times[near][np.argmax(level[near] > 0.2)] - begin) < 0.005


def test_samples_may_be_reused_by_the_caller_once_they_are_encoded() -> None:
    encoder = SegmentEncoder(None, AudioOutput())
    buffer = np.zeros((1, 700), np.float32)
    data = b""
    for i in range(60):
        buffer[:] = 0.0
        frame = sound(buffer, 1 + Fraction(i * 700, RATE))
        data += b"".join(p.data for p in encoder.encode(frame))
        buffer[:] = 1.0
    data += b"".join(p.data for p in encoder.flush())
    decoder = StreamDecoder()
    _, level = loudness([*decoder.feed(data), *decoder.flush()])
    assert level.max() < 0.05
