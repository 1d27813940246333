"""Units that FFmpeg's own parser finds, for codecs whose syntax is not known here."""

from __future__ import annotations

from collections import deque
from typing import Any

from livepeer.trickle.media.ts.units import AccessUnit, ElementaryPacket

_INSIDE = 4096
"""Packets that may be inside a parser. A unit is in one, or goes on in a few."""


class Parsed:
    """Each unit is given once its parser sees where it ends, often when the next one starts.

    Codecs without a parser are handed over packet by packet.
    """

    def __init__(self, codec: str, *, audio: bool) -> None:
        self._codec = codec
        self._audio = audio
        self._renew()
        self._lost = False

    def _renew(self) -> None:
        from av import CodecContext

        self._parser: Any = CodecContext.create(self._codec, "r")
        self._fed = self._given = 0
        self._packets: deque[tuple[int, ElementaryPacket]] = deque(maxlen=_INSIDE)
        """Where each packet begins in what was fed, and what it says."""

    def split(self, packet: ElementaryPacket) -> list[AccessUnit]:
        if packet.lost:
            self._renew()
            self._lost = True
        self._packets.append((self._fed, packet))
        self._fed += len(packet.data)
        return self._units(packet.data)

    def flush(self) -> list[AccessUnit]:
        out = self._units(None)
        self._renew()
        return out

    def _units(self, data: bytes | None) -> list[AccessUnit]:
        from av.error import FFmpegError

        try:
            found = [bytes(part) for part in self._parser.parse(data)]
        except ValueError:
            # There is no parser for it.
            found = [] if not data else [data]
        except FFmpegError:
            self._renew()
            self._lost = True
            return []
        return [self._unit(part) for part in found]

    def _unit(self, data: bytes) -> AccessUnit:
        packets, at = self._packets, self._given
        self._given += len(data)
        while len(packets) > 1 and packets[1][0] <= at:
            packets.popleft()
        pts = dts = None
        key, damaged = self._audio, False
        if packets:
            # The time in a packet's header belongs to the first unit that starts in it.
            first = packets[0][1]
            pts, dts = first.pts, first.dts
            key = key or first.random_access
            damaged = any(p.damaged for begins, p in packets if begins < self._given)
            first.pts = first.dts = None
            first.random_access = False
        lost, self._lost = self._lost, False
        return AccessUnit(data, pts, dts, key, lost, damaged)
