"""Elementary packets to access units: one picture, or one audio frame, each with its time.

A PES packet usually is one picture and several audio frames, but a muxer is free to cut anywhere.
What a decoder needs is exactly one unit at a time, and where it can start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from livepeer.trickle.media.ts.pes import ElementaryPacket


@dataclass(slots=True)
class AccessUnit:
    """`pts`, `dts`: raw ticks of 1/90000 s, `None` where the stream gives none.

    `lost`: something is missing before it; `damaged`: something may be missing in it.
    `after`: samples (at `rate`) since the unit that had a `pts`, for audio.
    """

    data: bytes
    pts: int | None
    dts: int | None
    key: bool
    lost: bool = False
    damaged: bool = False
    after: int = 0
    samples: int = 0
    rate: int = 0
    channels: int = 0


class Framer(Protocol):
    def split(self, packet: ElementaryPacket) -> list[AccessUnit]: ...

    def flush(self) -> list[AccessUnit]: ...
