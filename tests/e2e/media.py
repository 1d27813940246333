"""A clip to send, and what to look for in what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from livepeer.trickle.media import AudioFrame, AudioOutput, VideoFrame, VideoOutput, encode

WIDTH, HEIGHT, FPS, RATE = 320, 192, 30, 48_000
LIMIT = 120.0

Array = np.ndarray[Any, Any]


def picture(i: int) -> Array:
    """(192, 320, 3) uint8: red, brighter from frame to frame."""
    array = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
    array[..., 0] = 100 + i % 100
    return array


def pictures(count: int, first: int = 0) -> Iterator[VideoFrame]:
    for i in range(first, first + count):
        yield VideoFrame.from_ndarray(picture(i), time=i / FPS)


async def endless() -> AsyncIterator[Array]:
    """Pictures for as long as anybody takes them; the session paces them."""
    i = 0
    while True:
        yield picture(i)
        i += 1


def sine(hertz: float, seconds: float) -> Array:
    """(2, n) float32."""
    times = np.arange(round(seconds * RATE)) / RATE
    wave = (0.4 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)
    return np.stack([wave, wave])


def write_clip(path: Path, seconds: float, tone: Array) -> None:
    def frames() -> Iterator[VideoFrame | AudioFrame]:
        step = RATE // FPS
        for i, frame in enumerate(pictures(round(seconds * FPS))):
            yield frame
            samples = tone[:, i * step : (i + 1) * step]
            yield AudioFrame.from_ndarray(samples, rate=RATE, layout="stereo", time=i / FPS)

    encode(frames(), path, video=VideoOutput(gop_seconds=0.5), audio=AudioOutput(), format="mp4")


async def take(frames: AsyncIterator[Any], most: int = 1 << 30) -> list[Any]:
    """The next `most` items, or all of them."""
    found: list[Any] = []
    async with asyncio.timeout(LIMIT):
        async for frame in frames:
            found.append(frame)
            if len(found) == most:
                break
    return found


def chroma(frame: VideoFrame) -> tuple[float, float]:
    """Mean U and V: (128, 128) is grey."""
    _, u, v = frame.planes
    return float(np.mean(u)), float(np.mean(v))


def pitch(frames: list[AudioFrame]) -> float:
    """The strongest frequency, in Hz."""
    wave = np.concatenate([frame.samples[0] for frame in frames])
    wave = wave[len(wave) // 4 : -len(wave) // 4]  # codecs and filters settle at the edges
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(np.argmax(spectrum) * frames[0].rate / len(wave))
