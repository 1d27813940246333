"""The page's pictures and sound into a stream: pictures as they are, sound encoded to Opus."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from livepeer.runner.playground.units import Unit
from livepeer.trickle import TricklePublisher
from livepeer.trickle.media import (
    AudioFrame,
    AudioOutput,
    CodecParameters,
    MediaPacket,
    MediaPublisher,
    VideoOutput,
)
from livepeer.trickle.types import TLS

RATE = 48_000
MOST_PICTURES = 30
MOST_BYTES = 16 * 1024 * 1024
MOST_SOUND_SECONDS = 1
JITTER = 2_000
"""Microseconds between two pieces of sound that are one."""
_MICROSECONDS = Fraction(1, 1_000_000)
_PARTS = (("width", 16, 4096), ("height", 16, 4096), ("channels", 1, 2))


@dataclass(frozen=True, slots=True)
class Sent:
    """What the page says that it sends. `channels` 0: no sound; `width` 0: no pictures."""

    width: int = 0
    height: int = 0
    channels: int = 0

    @classmethod
    def of(cls, message: dict[str, Any]) -> Sent:
        """Raises `ValueError` for what cannot be."""
        found: dict[str, int] = {}
        for name, least, most in _PARTS:
            value = message.get(name, 0)
            if type(value) is not int or not (value == 0 or least <= value <= most):
                raise ValueError(f"{name} is 0, or from {least} to {most}")
            found[name] = value
        return cls(**found)


class Uplink:
    """Publishes what the page sends; an async context manager.

    `put` takes a unit at once, `run` hands them on. Where that is behind, sound that waits becomes
    one longer piece, and pictures are left out up to a keyframe, which `wants_key` asks for.
    """

    def __init__(self, url: str, tls: TLS, sent: Sent, wants_key: Callable[[], object]) -> None:
        sound: tuple[Literal["audio"], ...] = ("audio",) if sent.channels else ()
        self._publisher = MediaPublisher(
            url,
            output=VideoOutput() if sent.width else None,
            audio=AudioOutput(codec="libopus", rate=RATE) if sent.channels else None,
            expect=sound,
            on_stall="drop",
            drain_timeout=0.2,
            publisher=TricklePublisher(url, fresh=True, delete_on_close=False, linger=0, tls=tls),
        )
        self._sent = sent
        self._wants_key = wants_key
        self._video = CodecParameters("video", "h264", width=sent.width, height=sent.height)
        self._waiting: deque[Unit | _Sound] = deque()
        self._pictures = 0
        self._skips = False
        self._sound: _Sound | None = None
        """The piece of sound that waits and may grow."""
        self._woken = asyncio.Event()
        self.dropped = 0
        """Pictures that were left out here."""

    async def __aenter__(self) -> Uplink:
        await self._publisher.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._publisher.aclose()

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return sum(len(each.data) for each in self._waiting)

    def put(self, unit: Unit) -> None:
        """Raises `ValueError` for sound that is none."""
        if unit.kind == "audio":
            self._put_sound(unit)
        elif self._sent.width:
            self._put_picture(unit)
        self._woken.set()

    async def run(self) -> None:
        """For ever. Raises `TrickleError` where the channel is lost."""
        dropped = 0
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                await self._publisher.write(self._next())
                if self._publisher.stats.dropped > dropped:
                    dropped = self._publisher.stats.dropped
                    self._wants_key()

    def _next(self) -> AudioFrame | MediaPacket:
        unit = self._waiting.popleft()
        if isinstance(unit, _Sound):
            if unit is self._sound:
                self._sound = None
            samples = np.frombuffer(bytes(unit.data), "<i2").reshape(-1, self._sent.channels).T
            return AudioFrame.from_ndarray(samples, rate=RATE, time=unit.time * _MICROSECONDS)
        self._pictures -= 1
        return MediaPacket(unit.data, unit.time, unit.time, _MICROSECONDS, unit.key, self._video)

    def _put_picture(self, unit: Unit) -> None:
        full = self._pictures >= MOST_PICTURES or self.size > MOST_BYTES
        if full or (self._skips and not unit.key):
            self.dropped += 1
            if not self._skips:
                self._skips = True
                self._wants_key()
            return
        self._skips = False
        self._pictures += 1
        self._waiting.append(unit)

    def _put_sound(self, unit: Unit) -> None:
        channels = self._sent.channels
        if not channels:
            return
        if len(unit.data) % (2 * channels):
            raise ValueError(f"sound is 16-bit PCM of {channels} channels")
        sound = self._sound
        if sound is not None and len(sound.data) < 2 * channels * RATE * MOST_SOUND_SECONDS:
            ends = sound.time + len(sound.data) * 1_000_000 // (2 * channels * RATE)
            if abs(unit.time - ends) <= JITTER:
                sound.data += unit.data
                return
        elif sound is not None:
            # Nobody takes it: what is heard later than this is of no use.
            self._waiting = deque(each for each in self._waiting if not isinstance(each, _Sound))
        self._sound = _Sound(unit.time, bytearray(unit.data))
        self._waiting.append(self._sound)


@dataclass(eq=False, slots=True)
class _Sound:
    time: int
    data: bytearray
