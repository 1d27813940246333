"""The tables of an MPEG transport stream: which tracks there are, and in which codec.

ISO/IEC 13818-1 §2.4.4 (sections), SMPTE RA identifiers for what private streams carry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_TYPES: dict[int, tuple[Literal["video", "audio"], str]] = {
    0x01: ("video", "mpeg1video"),
    0x02: ("video", "mpeg2video"),
    0x03: ("audio", "mp2"),
    0x04: ("audio", "mp2"),
    0x0F: ("audio", "aac"),
    0x10: ("video", "mpeg4"),
    0x11: ("audio", "aac_latm"),
    0x1B: ("video", "h264"),
    0x24: ("video", "hevc"),
    0x33: ("video", "vvc"),
    0x42: ("video", "cavs"),
    0x81: ("audio", "ac3"),
    0x87: ("audio", "eac3"),
    0x8A: ("audio", "dts"),
    0xD1: ("video", "dirac"),
    0xEA: ("video", "vc1"),
}
_REGISTERED: dict[bytes, tuple[Literal["video", "audio"], str]] = {
    b"Opus": ("audio", "opus"),
    b"HEVC": ("video", "hevc"),
    b"AC-3": ("audio", "ac3"),
    b"EAC3": ("audio", "eac3"),
    b"DTS1": ("audio", "dts"),
    b"DTS2": ("audio", "dts"),
    b"DTS3": ("audio", "dts"),
    b"BSSD": ("audio", "s302m"),
    b"VC-1": ("video", "vc1"),
    b"drac": ("video", "dirac"),
    b"VVC ": ("video", "vvc"),
}
_HDMV: dict[int, tuple[Literal["video", "audio"], str]] = {
    0x80: ("audio", "pcm_bluray"),
    0x82: ("audio", "dts"),
    0x83: ("audio", "truehd"),
    0x84: ("audio", "eac3"),
    0x85: ("audio", "dts"),
    0x86: ("audio", "dts"),
}
"""Stream types of Blu-ray, in a program that says so."""
_DVB: dict[int, tuple[Literal["video", "audio"], str]] = {
    0x6A: ("audio", "ac3"),
    0x7A: ("audio", "eac3"),
    0x7B: ("audio", "dts"),
}


_STUFFING = 0xFF
"""What fills the rest of a packet behind its last section."""
_SECTIONS = 64
"""Sections of one PID that are remembered, to see what is new."""


@dataclass(frozen=True, slots=True)
class Track:
    """One elementary stream. `channels` is known here for Opus alone, else 0."""

    pid: int
    kind: Literal["video", "audio"]
    codec: str
    channels: int = 0


class SectionBuffer:
    """Joins the packets of one PID's tables and gives each new, intact section that is in force.

    A section may begin anywhere in a packet, behind the end of another one, and go on in the next
    (the pointer of §2.4.4.2).
    """

    __slots__ = ("_before", "_data", "_last")

    def __init__(self) -> None:
        self._data: bytearray | None = None
        self._last: dict[bytes, bytes] = {}
        """The last section of each program, by the bytes behind its length."""
        self._before: tuple[int, bytes] | None = None

    def add(self, payload: bytes, start: bool, counter: int) -> list[bytes]:
        """The sections that `payload` completes, without those that are as they were."""
        before, self._before = self._before, (counter, payload)
        if before == self._before:
            # Sent twice, which a packet may be.
            return []
        if not start:
            return self._join(payload)
        begin = 1 + (payload[0] if payload else 0)
        out = self._join(payload[1:begin])
        self._data = bytearray()
        return out + self._join(payload[begin:])

    def _join(self, payload: bytes) -> list[bytes]:
        out: list[bytes] = []
        data = self._data
        if data is None:
            return out
        data += payload
        at = 0
        while at + 3 <= len(data) and data[at] != _STUFFING:
            end = at + 3 + ((data[at + 1] & 0x0F) << 8 | data[at + 2])
            if end > len(data):
                break
            section = bytes(data[at:end])
            at = end
            name = section[:1] + section[3:5] + section[6:7]
            if section == self._last.get(name):
                continue
            if len(section) < 12 or _crc(section) != 0:
                # Where it ends is not to be believed either.
                self._data = None
                return out
            if section[5] & 0x01:
                if len(self._last) > _SECTIONS:
                    self._last.clear()
                self._last[name] = section
                out.append(section)
        del data[:at]
        return out


def parse_pat(section: bytes) -> list[tuple[int, int]]:
    """The programs: the number of each, and the PID of its table."""
    if section[0] != 0x00:
        return []
    return [
        (number, (section[at + 2] & 0x1F) << 8 | section[at + 3])
        for at in range(8, len(section) - 7, 4)
        if (number := section[at] << 8 | section[at + 1])
    ]


def program_number(section: bytes) -> int:
    return section[3] << 8 | section[4]


def parse_pmt(section: bytes) -> tuple[Track, ...]:
    """The first video and the first audio track whose codec is known here."""
    found: dict[str, Track] = {}
    end = len(section) - 4
    at = 12 + ((section[10] & 0x0F) << 8 | section[11])
    types = _TYPES | _HDMV if b"\x05\x04HDMV" in section[12:at] else _TYPES
    while at + 5 <= end:
        pid = (section[at + 1] & 0x1F) << 8 | section[at + 2]
        length = (section[at + 3] & 0x0F) << 8 | section[at + 4]
        track = _track(types.get(section[at]), pid, section[at + 5 : min(at + 5 + length, end)])
        if track is not None:
            found.setdefault(track.kind, track)
        at += 5 + length
    return tuple(found.values())


def _track(
    known: tuple[Literal["video", "audio"], str] | None, pid: int, descriptors: bytes
) -> Track | None:
    channels = 0
    at = 0
    while at + 2 <= len(descriptors):
        tag, length = descriptors[at], descriptors[at + 1]
        body = descriptors[at + 2 : at + 2 + length]
        if tag == 0x05 and known is None:
            known = _REGISTERED.get(bytes(body[:4]))
        elif tag in _DVB and known is None:
            known = _DVB[tag]
        elif tag == 0x7F and len(body) >= 2 and body[0] == 0x80:
            # Opus in MPEG-TS: 1 to 8 are that many channels, 0 is dual mono.
            channels = body[1] if 0 < body[1] <= 8 else 2
        at += 2 + length
    if known is None:
        return None
    kind, codec = known
    return Track(pid, kind, codec, (channels or 2) if codec == "opus" else 0)


def _make_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
        table.append(crc)
    return tuple(table)


_TABLE = _make_table()


def _crc(section: bytes) -> int:
    """CRC-32/MPEG-2; 0 over an intact section with its own CRC at the end."""
    crc = 0xFFFFFFFF
    for byte in section:
        crc = (crc << 8 ^ _TABLE[crc >> 24 ^ byte]) & 0xFFFFFFFF
    return crc
