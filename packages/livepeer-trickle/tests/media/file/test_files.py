"""Files and bytes without trickle: every picture, its time, and the sound beside it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from livepeer.trickle.media import AudioFrame, AudioOutput, VideoFrame, decode, encode

RATE = 48_000
#: Seconds by which a container rounds its times; MP4 has where a track begins in milliseconds.
ROUNDED = {"mpegts": Fraction(0), "mp4": Fraction(0), "matroska": Fraction(1, 1000)}
APART = {"mpegts": 0.0003, "mp4": 0.001, "matroska": 0.001}


def split(frames: list[Any]) -> tuple[list[VideoFrame], list[AudioFrame]]:
    assert [frame.time for frame in frames] == sorted(frame.time for frame in frames)
    pictures = [frame for frame in frames if isinstance(frame, VideoFrame)]
    return pictures, [frame for frame in frames if isinstance(frame, AudioFrame)]


def misplaced(sounds: list[AudioFrame], begin: Fraction) -> float:
    """By how many seconds the tone that begins at ``begin`` is not at its time."""
    at = sounds[0].time
    for sound in sounds:
        assert abs(sound.time - at) <= Fraction(1, 90_000)
        at = sound.time + sound.duration
    samples = np.concatenate([sound.samples[0] for sound in sounds])
    times = float(sounds[0].time - begin) + np.arange(len(samples)) / RATE
    onset = float(times[np.argmax(np.abs(samples) > 0.1)])
    # Of sound that begins at 0, Opus's first frame would begin before the clock's zero.
    assert abs(onset) < (0.02 if begin else 0.04)
    body = (times > 0.25) & (times < 0.75)
    heard = np.sum(samples[body] * np.exp(-2j * np.pi * 440 * times[body])) * 1j
    return float(np.angle(heard) / (2 * np.pi * 440))


@pytest.mark.parametrize("container", ROUNDED)
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_file_of_ffmpegs_comes_back_picture_by_picture_and_in_sync(
    clip: Callable[..., Any], quality: Callable[..., float], container: str, codec: str
) -> None:
    made = clip(codec=codec, bframes=2, audio="aac", container_format=container)
    pictures, sounds = split(list(decode(made.data)))
    begin = pictures[0].time
    for n, (frame, drawn) in enumerate(zip(pictures, made.pictures, strict=True)):
        assert abs(frame.time - begin - Fraction(n, 30)) <= ROUNDED[container]
        for ours, plane in zip(frame.view(), drawn, strict=True):
            assert quality(ours, plane) > 38
    assert abs(misplaced(sounds, begin)) < APART[container]


@pytest.mark.parametrize("container", ["mpegts", "matroska"])
def test_of_a_file_that_breaks_off_all_before_comes_out(
    clip: Callable[..., Any], container: str
) -> None:
    data = clip(frames=60, audio="aac", container_format=container).data
    pictures, sounds = split(list(decode(data[: len(data) // 2])))
    assert 20 < len(pictures) < 40
    assert Fraction(1, 2) < sum(sound.duration for sound in sounds) < Fraction(3, 2)


@pytest.mark.parametrize("container", ROUNDED)
def test_a_file_with_a_broken_part_goes_on_behind_it(
    clip: Callable[..., Any], container: str
) -> None:
    whole = clip(frames=60, audio="aac", container_format=container)
    data = bytearray(whole.data)
    middle = len(data) // 2
    data[middle : middle + 3_000] = np.random.default_rng(1).bytes(3_000)
    pictures, sounds = split(list(decode(bytes(data))))
    assert len(pictures) > 40
    assert sum(sound.duration for sound in sounds) > Fraction(3, 2)
    end = Fraction(whole.times[-1] - whole.times[0], 90_000)
    assert abs(pictures[-1].time - pictures[0].time - end) <= ROUNDED[container]
    assert sounds[-1].time - sounds[0].time > Fraction(18, 10)


@pytest.mark.parametrize("container", ROUNDED)
@pytest.mark.parametrize("codec", ["aac", "libopus"])
@pytest.mark.parametrize("start", [Fraction(0), Fraction(5)])
def test_what_is_encoded_into_a_file_comes_back_picture_by_picture_and_in_sync(
    draw: Callable[..., Any],
    quality: Callable[..., float],
    container: str,
    codec: Any,
    start: Fraction,
) -> None:
    frames: list[Any] = []
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    for n in range(30):
        frame = VideoFrame.from_ndarray(
            np.zeros((144, 160), np.uint8), "yuv420p", time=start + Fraction(n, 30)
        )
        for plane, drawn in zip(frame.planes, draw(n, 160, 96), strict=True):
            plane[:] = drawn
        samples = np.tile(wave[n * 1600 : n * 1600 + 1600].astype(np.float32), (2, 1))
        frames += [frame, AudioFrame.from_ndarray(samples, rate=RATE, time=frame.time)]
    data = encode(frames, audio=AudioOutput(codec=codec), format=container)
    assert data is not None
    pictures, sounds = split(list(decode(data)))
    begin = pictures[0].time
    if container == "mpegts":
        assert begin == start
    assert len(pictures) == 30
    for n, frame in enumerate(pictures):
        assert abs(frame.time - begin - Fraction(n, 30)) <= ROUNDED[container]
        for ours, plane in zip(frame.view(), draw(n, 160, 96), strict=True):
            assert quality(ours, plane) > 30
    assert abs(misplaced(sounds, begin)) < APART[container]
