"""The headers of audio frames: how long each is, and what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Header:
    """`size` in bytes. What the header does not tell is 0, but for the size."""

    size: int
    samples: int
    rate: int
    channels: int


class Parser(Protocol):
    def __call__(self, data: bytes, at: int) -> Header | None:
        """The frame at `at`; `None` if there is none, size 0 if its header is not whole."""


_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


def adts(data: bytes, at: int) -> Header | None:
    """ISO/IEC 13818-7 §6.2."""
    if at + 7 > len(data):
        return Header(0, 0, 0, 0) if data[at] == 0xFF else None
    if data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return None
    index = data[at + 2] >> 2 & 0x0F
    size = (data[at + 3] & 0x03) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    if index >= len(_RATES) or size < 8:
        return None
    follower = at + size
    if follower + 1 < len(data) and (data[follower] != 0xFF or data[follower + 1] & 0xF6 != 0xF0):
        return None
    blocks = 1 + (data[at + 6] & 0x03)
    channels = (data[at + 2] & 0x01) << 2 | data[at + 3] >> 6
    return Header(size, 1024 * blocks, _RATES[index], 8 if channels == 7 else channels)


_BITRATES = {  # kbit/s: (MPEG-1, layer), then (MPEG-2 and 2.5, layer)
    (3, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_BITRATES[2, 3] = _BITRATES[2, 2]


def mpeg_audio(data: bytes, at: int) -> Header | None:
    """ISO/IEC 11172-3 §2.4.1.3, 13818-3 §2.4.2.3."""
    if at + 4 > len(data):
        return Header(0, 0, 0, 0) if data[at] == 0xFF else None
    if data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 0x03, 4 - (data[at + 1] >> 1 & 0x03)
    bitrate, rate = data[at + 2] >> 4, data[at + 2] >> 2 & 0x03
    if version == 1 or layer == 4 or rate == 3 or bitrate in (0, 15):
        return None
    hertz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    kilobits = _BITRATES[3 if version == 3 else 2, layer][bitrate]
    padding = data[at + 2] >> 1 & 0x01
    if layer == 1:
        samples, size = 384, (12_000 * kilobits // hertz + padding) * 4
    else:
        samples = 576 if layer == 3 and version != 3 else 1152
        size = samples // 8 * 1000 * kilobits // hertz + padding
    follower = at + size
    if follower + 1 < len(data) and (data[follower] != 0xFF or data[follower + 1] & 0xE0 != 0xE0):
        return None
    channels = 1 if data[at + 3] >> 6 == 3 else 2
    return Header(size, samples, hertz, channels)


def latm(data: bytes, at: int) -> Header | None:
    """The AudioSyncStream of ISO/IEC 14496-3 §1.7.2; what is in it only its decoder knows."""
    if at + 3 > len(data):
        return Header(0, 0, 0, 0) if data[at] == 0x56 else None
    if data[at] != 0x56 or data[at + 1] & 0xE0 != 0xE0:
        return None
    size = 3 + ((data[at + 1] & 0x1F) << 8 | data[at + 2])
    follower = at + size
    if follower + 1 < len(data) and (data[follower] != 0x56 or data[follower + 1] & 0xE0 != 0xE0):
        return None
    return Header(size, 0, 0, 0)


_AC3_RATES = (48_000, 44_100, 32_000)
_AC3_KILOBITS = (
    32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640,
)  # fmt: skip


def ac3(data: bytes, at: int) -> Header | None:
    """ETSI TS 102 366 §4.4.1 (AC-3) and §E.1.3 (E-AC-3, with the substreams that hang on it)."""
    header = _ac3_frame(data, at)
    if header is None or header.size == 0:
        return header
    follower = at + header.size
    while follower + 6 <= len(data) and data[follower + 5] >> 3 > 10:
        if data[follower + 2] >> 6 != 1:
            break
        more = _ac3_frame(data, follower)
        if more is None:
            return None
        follower += more.size
    if follower + 1 < len(data) and data[follower : follower + 2] != b"\x0b\x77":
        return None
    header.size = follower - at
    return header


def _ac3_frame(data: bytes, at: int) -> Header | None:
    if at + 6 > len(data):
        return Header(0, 0, 0, 0) if data[at] == 0x0B else None
    if data[at] != 0x0B or data[at + 1] != 0x77:
        return None
    code, sort = data[at + 4] >> 6, data[at + 5] >> 3
    if sort > 16:
        return None
    if sort > 10:
        size = 2 * (1 + ((data[at + 2] & 0x07) << 8 | data[at + 3]))
        if code == 3:
            half = data[at + 4] >> 4 & 0x03
            return None if half == 3 else Header(size, 1536, _AC3_RATES[half] // 2, 0)
        blocks = (1, 2, 3, 6)[data[at + 4] >> 4 & 0x03]
        return Header(size, 256 * blocks, _AC3_RATES[code], 0)
    length = data[at + 4] & 0x3F
    if code == 3 or length // 2 >= len(_AC3_KILOBITS):
        return None
    kilobits, hertz = _AC3_KILOBITS[length // 2], _AC3_RATES[code]
    words = kilobits * 96_000 // hertz
    if code == 1:
        words += length & 0x01
    return Header(2 * words, 1536, hertz >> max(0, sort - 8), 0)
