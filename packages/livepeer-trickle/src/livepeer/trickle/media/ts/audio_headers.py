"""The headers of audio frames, read and written: how long each frame is, and what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class AudioHeader:
    """`size` in bytes. What the header does not tell is 0, but for the size."""

    size: int
    samples: int
    rate: int
    channels: int


class HeaderParser(Protocol):
    def __call__(self, data: bytes, at: int) -> AudioHeader | None:
        """The frame at `at`; `None` if there is none, size 0 if its header is not whole."""


ADTS_RATES = (
    *(96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000),
    *(22_050, 16_000, 12_000, 11_025, 8_000, 7_350),
)
"""Hz by their number in the header of AAC."""


def adts(data: bytes, at: int) -> AudioHeader | None:
    """ISO/IEC 13818-7 §6.2."""
    if at + 7 > len(data):
        return AudioHeader(0, 0, 0, 0) if data[at] == 0xFF else None
    if data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return None
    index = data[at + 2] >> 2 & 0x0F
    size = (data[at + 3] & 0x03) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    if index >= len(ADTS_RATES) or size < 8:
        return None
    follower = at + size
    if follower + 1 < len(data) and (data[follower] != 0xFF or data[follower + 1] & 0xF6 != 0xF0):
        return None
    blocks = 1 + (data[at + 6] & 0x03)
    channels = (data[at + 2] & 0x01) << 2 | data[at + 3] >> 6
    return AudioHeader(size, 1024 * blocks, ADTS_RATES[index], 8 if channels == 7 else channels)


def adts_header(size: int, rate: int, channels: int) -> bytes:
    """The header of one AAC-LC frame of `size` bytes (ISO/IEC 13818-7 §6.2)."""
    size += 7
    index = ADTS_RATES.index(rate)
    return bytes(
        (
            *(0xFF, 0xF1, 1 << 6 | index << 2 | channels >> 2, (channels & 3) << 6 | size >> 11),
            *(size >> 3 & 0xFF, (size & 7) << 5 | 0x1F, 0xFC),
        )
    )


_BITRATES = {  # kbit/s: (MPEG-1, layer), then (MPEG-2 and 2.5, layer)
    (3, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_BITRATES[2, 3] = _BITRATES[2, 2]


def mpeg_audio(data: bytes, at: int) -> AudioHeader | None:
    """ISO/IEC 11172-3 §2.4.1.3, 13818-3 §2.4.2.3."""
    if at + 4 > len(data):
        return AudioHeader(0, 0, 0, 0) if data[at] == 0xFF else None
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
    return AudioHeader(size, samples, hertz, channels)


def latm(data: bytes, at: int) -> AudioHeader | None:
    """The AudioSyncStream of ISO/IEC 14496-3 §1.7.2; what is in it only its decoder knows."""
    if at + 3 > len(data):
        return AudioHeader(0, 0, 0, 0) if data[at] == 0x56 else None
    if data[at] != 0x56 or data[at + 1] & 0xE0 != 0xE0:
        return None
    size = 3 + ((data[at + 1] & 0x1F) << 8 | data[at + 2])
    follower = at + size
    if follower + 1 < len(data) and (data[follower] != 0x56 or data[follower + 1] & 0xE0 != 0xE0):
        return None
    return AudioHeader(size, 0, 0, 0)


_AC3_RATES = (48_000, 44_100, 32_000)
_AC3_KILOBITS = (
    32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640,
)  # fmt: skip


def ac3(data: bytes, at: int) -> AudioHeader | None:
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


def _ac3_frame(data: bytes, at: int) -> AudioHeader | None:
    if at + 6 > len(data):
        return AudioHeader(0, 0, 0, 0) if data[at] == 0x0B else None
    if data[at] != 0x0B or data[at + 1] != 0x77:
        return None
    code, sort = data[at + 4] >> 6, data[at + 5] >> 3
    if sort > 16:
        return None
    if sort > 10:
        size = 2 * (1 + ((data[at + 2] & 0x07) << 8 | data[at + 3]))
        if code == 3:
            half = data[at + 4] >> 4 & 0x03
            return None if half == 3 else AudioHeader(size, 1536, _AC3_RATES[half] // 2, 0)
        blocks = (1, 2, 3, 6)[data[at + 4] >> 4 & 0x03]
        return AudioHeader(size, 256 * blocks, _AC3_RATES[code], 0)
    length = data[at + 4] & 0x3F
    if code == 3 or length // 2 >= len(_AC3_KILOBITS):
        return None
    kilobits, hertz = _AC3_KILOBITS[length // 2], _AC3_RATES[code]
    words = kilobits * 96_000 // hertz
    if code == 1:
        words += length & 0x01
    return AudioHeader(2 * words, 1536, hertz >> max(0, sort - 8), 0)


def mpeg_audio_decoder(unit: bytes) -> str:
    """FFmpeg's decoder: one stream type names all layers of MPEG audio, the header says which."""
    return {3: "mp1float", 2: "mp2float"}.get(unit[1] >> 1 & 0x03, "mp3float")


def opus_control(size: int) -> bytes:
    """The control header before each packet, by the mapping "Opus in MPEG-TS" of opus-codec.org."""
    return b"\x7f\xe0" + b"\xff" * (size // 255) + bytes((size % 255,))


def opus_samples(unit: bytes) -> int:
    """RFC 6716 §3.1: samples at 48 kHz of one packet."""
    config, code = unit[0] >> 3, unit[0] & 0x03
    if config < 12:
        one = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        one = (480, 960)[config & 1]
    else:
        one = (120, 240, 480, 960)[config & 3]
    count = 1 if code == 0 else 2 if code < 3 else unit[1] & 0x3F if len(unit) > 1 else 1
    return one * count


def opus_head(channels: int) -> bytes:
    """RFC 7845 §5.1, with the channel mapping of family 1 above two channels."""
    head = b"OpusHead\x01" + bytes([channels]) + b"\0\0" + (48_000).to_bytes(4, "little") + b"\0\0"
    if channels <= 2:
        return head + b"\0"
    streams, coupled, mapping = {
        3: (2, 1, (0, 2, 1)),
        4: (2, 2, (0, 1, 2, 3)),
        5: (3, 2, (0, 4, 1, 2, 3)),
        6: (4, 2, (0, 4, 1, 2, 3, 5)),
        7: (4, 3, (0, 4, 1, 2, 3, 5, 6)),
        8: (5, 3, (0, 6, 1, 2, 3, 4, 5, 7)),
    }[channels]
    return head + bytes([1, streams, coupled, *mapping])
