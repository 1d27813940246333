"""Audio frames out of elementary packets, each with the samples that it holds."""

from __future__ import annotations

from livepeer.trickle.media.ts.audio_headers import HeaderParser, opus_samples
from livepeer.trickle.media.ts.units import AccessUnit, ElementaryPacket


class AudioFrames:
    """Audio whose frames say their own length; a frame may go on in the next packet."""

    def __init__(self, parse: HeaderParser, sync: bytes = b"\xff") -> None:
        self._parse = parse
        self._sync = sync
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
                found = data.find(self._sync, at + 1)
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
            samples = opus_samples(unit)
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
