"""One encoded picture or a piece of sound, as a binary message between the page and its server.

| Bytes | Holds |
| --- | --- |
| 1 | kind: 0 a picture, 1 sound |
| 1 | flags: 1 a decoder can start here |
| 8 | time of presentation in microseconds, signed, big-endian |
| rest | up: H.264 (Annex B), or 16-bit PCM; down: the unit as the codec has it |
"""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

from livepeer.trickle.media import MediaPacket

_HEAD = struct.Struct(">BBq")
KINDS: tuple[Literal["video", "audio"], ...] = ("video", "audio")
KEY = 1
LONGEST_SECONDS = 30 * 24 * 3600
"""No page is open for longer; a time beyond is no time."""


class Unit(NamedTuple):
    """One encoded picture or piece of sound; `time` is in microseconds."""

    kind: Literal["video", "audio"]
    key: bool
    time: int
    data: bytes


def unpacked(message: bytes) -> Unit:
    """Parse a binary message of the page. Raises `ValueError` that says what is wrong with it."""
    if len(message) <= _HEAD.size:
        raise ValueError(f"a unit has a head of {_HEAD.size} bytes and a content behind it")
    kind, flags, time = _HEAD.unpack_from(message)
    if kind >= len(KINDS):
        raise ValueError(f"a unit is of kind 0 or 1, not {kind}")
    if not 0 <= time <= LONGEST_SECONDS * 1_000_000:
        raise ValueError(f"{time} is no time: microseconds since the page began")
    return Unit(KINDS[kind], bool(flags & KEY), time, message[_HEAD.size :])


def packed(packet: MediaPacket) -> bytes:
    """The binary message that carries a packet of the result to the page."""
    time = round(packet.time * 1_000_000)
    return _HEAD.pack(KINDS.index(packet.kind), KEY * packet.is_keyframe, time) + packet.data
