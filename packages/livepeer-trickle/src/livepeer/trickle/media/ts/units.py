"""What a transport stream is made of: tracks, their elementary packets, and access units.

A PES packet usually is one picture and several audio frames, but a muxer is free to cut anywhere.
What a decoder needs is exactly one unit at a time, and where it can start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from livepeer.trickle.media.frame.packets import Kind

PACKET_SIZE = 188
"""Bytes of a transport packet (ISO/IEC 13818-1 §2.4.3.2)."""
SYNC_BYTE = 0x47
"""The first of them."""


@dataclass(frozen=True, slots=True)
class Track:
    """One elementary stream, as the table of its program names it."""

    pid: int
    """Packet identifier: the number of the track in the stream."""
    kind: Kind
    codec: str
    """FFmpeg's name."""
    channels: int = 0
    """Channels of Opus; 0 for any other codec, whose packets tell them."""
    whole: bool = False
    """Its muxer says that each packet is one whole picture, which stuffing ends, and nothing else
    is stuffed (`tables.WHOLE`)."""


@dataclass(slots=True)
class ElementaryPacket:
    """One PES packet: `pts` and `dts` are raw 33-bit ticks of 1/90000 s."""

    track: Track
    data: bytes
    pts: int | None
    dts: int | None
    random_access: bool
    damaged: bool
    """Bytes are missing in it."""
    lost: bool
    """Something was lost since the packet before it."""
    is_full: bool = False
    """It is as long as a packet can say, so that more may not have fitted."""


@dataclass(slots=True)
class AccessUnit:
    """One picture or one audio frame, as it was cut out of a stream.

    `pts`, `dts`: raw 33-bit ticks of 1/90000 s, `None` where the stream gives none.
    """

    data: bytes
    pts: int | None
    dts: int | None
    key: bool
    lost: bool = False
    """Something is missing before it."""
    damaged: bool = False
    """Something may be missing in it."""
    after: int = 0
    """Samples (at `rate`) since the unit that had a `pts`, for audio."""
    samples: int = 0
    rate: int = 0
    channels: int = 0


class EncodedFrame(NamedTuple):
    """One picture or one audio frame that a muxer writes. Times are ticks of 1/90000 s."""

    data: bytes
    pts: int
    dts: int
    key: bool


class Framer(Protocol):
    """Cuts the packets of one track into access units."""

    def split(self, packet: ElementaryPacket) -> list[AccessUnit]:
        """The units that are whole with this packet."""

    def flush(self) -> list[AccessUnit]:
        """The units that are still held, at the end of the stream or of the track."""
