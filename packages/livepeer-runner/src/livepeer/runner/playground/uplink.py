"""The page's pictures and sound into a stream: pictures as they are, sound encoded to Opus."""

from __future__ import annotations

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
    """Publishes what the page sends; an async context manager."""

    def __init__(self, url: str, tls: TLS, sent: Sent) -> None:
        sound: tuple[Literal["audio"], ...] = ("audio",) if sent.channels else ()
        self._publisher = MediaPublisher(
            url,
            output=VideoOutput() if sent.width else None,
            # 20 ms of sound in a packet, as the page sends it: nothing waits for more.
            audio=AudioOutput(codec="libopus", rate=RATE) if sent.channels else None,
            expect=sound,
            on_stall="drop",
            drain_timeout=0.2,
            publisher=TricklePublisher(url, fresh=True, delete_on_close=False, linger=0, tls=tls),
        )
        self._sent = sent
        self._video = CodecParameters("video", "h264", width=sent.width, height=sent.height)
        self._dropped = 0

    async def __aenter__(self) -> Uplink:
        await self._publisher.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._publisher.aclose()

    async def write(self, unit: Unit) -> bool:
        """Send one. True: pictures were lost, so a new keyframe is wanted.

        Raises `ValueError` for sound that is none, `TrickleError` where the channel is lost.
        """
        if unit.kind == "audio":
            if self._sent.channels:
                await self._publisher.write(self._sound(unit))
        elif self._sent.width:
            await self._publisher.write(
                MediaPacket(unit.data, unit.time, unit.time, _MICROSECONDS, unit.key, self._video)
            )
        dropped, self._dropped = self._dropped, self._publisher.stats.dropped
        return self._dropped > dropped

    def _sound(self, unit: Unit) -> AudioFrame:
        channels = self._sent.channels
        if len(unit.data) % (2 * channels):
            raise ValueError(f"sound is 16-bit PCM of {channels} channels")
        samples = np.frombuffer(unit.data, "<i2").reshape(-1, channels).T
        return AudioFrame.from_ndarray(samples, rate=RATE, time=unit.time * _MICROSECONDS)
