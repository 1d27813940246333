"""MPEG transport stream to elementary packets, without I/O, without waiting, without probing.

FFmpeg's demuxer reads from a file, probes, and holds each picture back until the next one starts;
that is a frame of delay on each hop, and its `noparse` loses pictures of muxers that split them.
This one is fed bytes and gives each packet as soon as it is known to be complete:

- at its length, where the muxer wrote one;
- at a packet filled up with stuffing, where this muxer says (`tables.WHOLE`) or has proven that it
  stuffs nowhere else (`Assembler` learns it and unlearns it);
- at the end of a segment, unless this publisher has been seen to cut packets in two;
- and at the start of the next packet in any case.

Source of the format: ISO/IEC 13818-1 §2.4.3.
"""

from __future__ import annotations

from livepeer.trickle.media.ts.pes import Assembler, DemuxStats
from livepeer.trickle.media.ts.tables import Tables
from livepeer.trickle.media.ts.units import PACKET_SIZE, SYNC_BYTE, ElementaryPacket, Track

_SYNC = bytes((SYNC_BYTE,))
_RUN = 128
"""Packets that are compared at a time."""
_COUNTED = bytes(0x10 | counter & 0x0F for counter in range(_RUN + 16))
"""The fourth bytes of plain packets, one behind the other."""


class Demuxer:
    """Feed bytes, cut anywhere; get the packets of the first video and first audio track."""

    def __init__(self) -> None:
        self.stats = DemuxStats()
        self.tracks: tuple[Track, ...] = ()
        """The tracks of the program now; changes between two packets of `feed`'s result."""
        self._rest = b""
        self._between = False
        self._tables = Tables()
        self._assemblers: dict[int, Assembler] = {}

    def feed(self, data: bytes | bytearray | memoryview) -> list[ElementaryPacket]:
        self.stats.bytes += len(data)
        if self._rest and self._between and _aligned(data):
            # The segment before ended in half a transport packet, and this one does not go on.
            self.stats.skipped_bytes += len(self._rest)
            self._rest = b""
        self._between = False
        buffer = b"".join((self._rest, data)) if self._rest else bytes(data)
        out: list[ElementaryPacket] = []
        at = 0
        while len(buffer) - at >= PACKET_SIZE:
            end = len(buffer) - (len(buffer) - at) % PACKET_SIZE
            syncs = buffer[at:end:PACKET_SIZE]
            good = len(syncs) - len(syncs.lstrip(_SYNC))
            if good:
                self._packets(buffer, at, good, out)
                at += good * PACKET_SIZE
            if at < end:
                found = _next_sync(buffer, at + 1)
                self.stats.skipped_bytes += found - at
                at = found
        self._rest = buffer[at:]
        return out

    def end_segment(self) -> list[ElementaryPacket]:
        """What the end of a segment completes. Counters may start again in the next one."""
        self._between = True
        return [p for a in self._assemblers.values() if (p := a.end_segment()) is not None]

    def discontinuity(self) -> None:
        """Forget half packets: bytes were lost here, and the next packet of each track says so."""
        self._rest = b""
        for assembler in self._assemblers.values():
            assembler.lose()

    def flush(self) -> list[ElementaryPacket]:
        """The end of the stream: every packet that may be whole."""
        return [p for a in self._assemblers.values() if (p := a.finish()) is not None]

    def _packets(self, buffer: bytes, at: int, count: int, out: list[ElementaryPacket]) -> None:
        """Hand over `count` packets: plain ones of a track in one go, any other alone."""
        end = at + count * PACKET_SIZE
        heads = buffer[at + 1 : end : PACKET_SIZE], buffer[at + 2 : end : PACKET_SIZE]
        controls = buffer[at + 3 : end : PACKET_SIZE]
        i = 0
        while i < count:
            high, low = heads[0][i], heads[1][i]
            run = 1
            # Plain: no error, no start, not scrambled, payload alone.
            if not high & 0xC0 and controls[i] & 0xF0 == 0x10:
                until = min(i + _RUN, count)
                run = min(
                    _alike(heads[0][i:until], bytes((high,)) * _RUN),
                    _alike(heads[1][i:until], bytes((low,)) * _RUN),
                    _alike(controls[i:until], _COUNTED[controls[i] & 0x0F :]),
                )
            pid = (high & 0x1F) << 8 | low
            if pid in self._tables.pids:
                for start in range(at, at + run * PACKET_SIZE, PACKET_SIZE):
                    tracks = self._tables.add(pid, buffer[start : start + PACKET_SIZE])
                    if tracks:
                        self._set_tracks(tuple(tracks), out)
            elif (assembler := self._assemblers.get(pid)) is not None:
                assembler.add(buffer, at, run, out)
            i += run
            at += run * PACKET_SIZE

    def _set_tracks(self, tracks: tuple[Track, ...], out: list[ElementaryPacket]) -> None:
        if tracks == self.tracks:
            return
        old, self._assemblers = self._assemblers, {}
        for track in tracks:
            kept = old.pop(track.pid, None)
            if kept is None or kept.track != track:
                if kept is not None:
                    old[track.pid] = kept
                kept = Assembler(track, self.stats)
            self._assemblers[track.pid] = kept
        out += [p for a in old.values() if (p := a.finish()) is not None]
        self.tracks = tracks


def _aligned(data: bytes | bytearray | memoryview) -> bool:
    return (
        len(data) > 0
        and data[0] == SYNC_BYTE
        and (len(data) <= PACKET_SIZE or data[PACKET_SIZE] == SYNC_BYTE)
    )


def _alike(seen: bytes, expected: bytes) -> int:
    """How many bytes are the same from the beginning on; `expected` may be longer."""
    length = len(seen)
    difference = int.from_bytes(seen) ^ int.from_bytes(expected[:length])
    return length - (difference.bit_length() + 7) // 8


def _next_sync(buffer: bytes, at: int) -> int:
    """The next offset that looks like a packet start and has another one behind it."""
    while True:
        at = buffer.find(_SYNC, at)
        if at < 0:
            return len(buffer)
        if at + PACKET_SIZE >= len(buffer) or buffer[at + PACKET_SIZE] == SYNC_BYTE:
            return at
        at += 1
