"""Audio frames out of elementary packets, each with the samples that it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .access_units import AccessUnit
from .pes import ElementaryPacket

__all__ = ["AudioFrames", "OpusFrames", "adts", "mpeg_audio"]


@dataclass(slots=True)
class _Header:
    size: int
    samples: int
    rate: int
    channels: int


class AudioFrames:
    """Audio whose frames say their own length; a frame may go on in the next packet."""

    def __init__(self, parse: _Parser) -> None:
        self._parse = parse
        self._rest = b""
        self._rest_pts: int | None = None
        self._after = 0
        self._lost = False

    def split(self, packet: ElementaryPacket) -> list[AccessUnit]:
        if packet.lost:
            self._rest, self._rest_pts, self._lost = b"", None, True
        rest, rest_pts, new_pts = len(self._rest), self._rest_pts, packet.pts
        data = self._rest + packet.data if rest else packet.data
        out: list[AccessUnit] = []
        at = 0
        while at < len(data):
            header = self._parse(data, at)
            if header is None:
                self._lost = True
                found = data.find(b"\xff", at + 1)
                at = found if found >= 0 else len(data)
                continue
            if header.size == 0 or at + header.size > len(data):
                break
            # The time in a packet's header belongs to the first frame that starts in it.
            pts = None
            if at >= rest:
                pts, new_pts = new_pts, None
            elif at == 0:
                pts = rest_pts
            if pts is not None:
                self._after = 0
            unit = data[at : at + header.size]
            out.append(
                AccessUnit(
                    data=unit,
                    pts=pts,
                    dts=pts,
                    key=True,
                    lost=self._lost,
                    after=self._after,
                    samples=header.samples,
                    rate=header.rate,
                    channels=header.channels,
                )
            )
            self._after += header.samples
            self._lost = False
            at += header.size
        self._rest = data[at:]
        self._rest_pts = new_pts if at >= rest else rest_pts if at == 0 else None
        return out

    def flush(self) -> list[AccessUnit]:
        self._rest, self._rest_pts = b"", None
        return []


class _Parser(Protocol):
    def __call__(self, data: bytes, at: int) -> _Header | None:
        """The frame at ``at``; ``None`` if there is none, size 0 if its header is not whole."""


_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


def adts(data: bytes, at: int) -> _Header | None:
    """ISO/IEC 13818-7 §6.2."""
    if at + 7 > len(data):
        return _Header(0, 0, 0, 0) if data[at] == 0xFF else None
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
    return _Header(size, 1024 * blocks, _RATES[index], 8 if channels == 7 else channels)


_BITRATES = {  # kbit/s: (MPEG-1, layer), then (MPEG-2 and 2.5, layer)
    (3, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_BITRATES[2, 3] = _BITRATES[2, 2]


def mpeg_audio(data: bytes, at: int) -> _Header | None:
    """ISO/IEC 11172-3 §2.4.1.3, 13818-3 §2.4.2.3."""
    if at + 4 > len(data):
        return _Header(0, 0, 0, 0) if data[at] == 0xFF else None
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
    return _Header(size, samples, hertz, channels)


class OpusFrames:
    """Opus frames behind control headers, as FFmpeg and GStreamer write them into MPEG-TS."""

    def __init__(self, channels: int) -> None:
        self._channels = channels

    def split(self, packet: ElementaryPacket) -> list[AccessUnit]:
        data, at, after = packet.data, 0, 0
        out: list[AccessUnit] = []
        pts: int | None = packet.pts
        lost = packet.lost
        while at + 3 <= len(data):
            if data[at] != 0x7F or data[at + 1] & 0xE0 != 0xE0:
                lost = True
                break
            flags = data[at + 1]
            at += 2
            size = 0
            while at < len(data):
                size += data[at]
                at += 1
                if data[at - 1] != 0xFF:
                    break
            at += 2 * bool(flags & 0x10) + 2 * bool(flags & 0x08)
            if flags & 0x04 and at < len(data):
                at += 1 + data[at]
            if not size or at + size > len(data):
                break
            unit = data[at : at + size]
            samples = _opus_samples(unit)
            out.append(
                AccessUnit(
                    data=unit,
                    pts=pts,
                    dts=pts,
                    key=True,
                    lost=lost,
                    after=after,
                    samples=samples,
                    rate=48_000,
                    channels=self._channels,
                )
            )
            pts, lost = None, False
            after += samples
            at += size
        return out

    def flush(self) -> list[AccessUnit]:
        return []


def _opus_samples(unit: bytes) -> int:
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
