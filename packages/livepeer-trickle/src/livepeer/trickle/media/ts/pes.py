"""Transport packets of one track to elementary (PES) packets: ISO/IEC 13818-1 §2.4.3.6."""

from __future__ import annotations

from dataclasses import dataclass

from livepeer.trickle.media.ts.units import PACKET_SIZE, ElementaryPacket, Track

_LIMIT = 32 << 20
"""A packet that grows past this is no picture but a stream that lost its starts."""
_PROOF = 2
"""How many packets have to end in stuffing, and have none before, until the next is believed to."""
_FULL = 64_000
"""Lengths from here on are of muxers that cut what is longer than 16 bits can tell."""
_NO_HEADER = frozenset((0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF))
"""Packets without the header that all others have (§2.4.3.7): of padding, directories and such."""


@dataclass(slots=True)
class DemuxStats:
    bytes: int = 0
    lost_packets: int = 0
    """Transport packets that never came, by their counters (at least this many)."""
    skipped_bytes: int = 0
    """Bytes skipped in search of a packet start."""


class Assembler:
    """Joins the transport packets of one track, and learns where this muxer ends its packets."""

    def __init__(self, track: Track, stats: DemuxStats) -> None:
        self.track = track
        self._stats = stats
        self._data = bytearray()
        self._count = 0
        self._open = False
        self._wanted: int | None = None
        self._random_access = False
        self._damaged = False
        self._lost = False
        self._counter: int | None = None
        self._payload = b""
        self._new_segment = True
        # What is known of the muxer: packets seen to end in stuffing, or None once one did not.
        self._proof: int | None = _PROOF if track.whole else 0
        self._stuffed = False
        self._guessed = False
        self._cuts_packets = False
        self._flushed = False

    def add(self, buffer: bytes, at: int, count: int, out: list[ElementaryPacket]) -> None:
        """The `count` transport packets from `at` on; more than one have a payload alone."""
        flags, control = buffer[at + 1], buffer[at + 3]
        if flags & 0x80:
            self.lose()
            return
        starts = bool(flags & 0x40)
        begin, stuffed, entry, anew = at + 4, False, False, False
        if control & 0x20:
            length = buffer[begin]
            told = buffer[begin + 1] if length else 0
            if not control & 0x10:
                if told & 0x80:
                    # Announced by a packet of its own: the counter starts again.
                    self._counter = None
                return
            if length > 183:
                self.lose()
                return
            begin += 1 + length
            stuffed = length == 0 or _stuffing(length, told) > 0
            entry = bool(told & 0x40)
            anew = bool(told & 0x80)
        elif not control & 0x10:
            return
        counter = control & 0x0F
        if counter == self._counter and buffer[begin : at + PACKET_SIZE] == self._payload:
            # Sent twice, which a packet may be; the others of a run follow it.
            if count == 1:
                return
            at, count, begin = at + PACKET_SIZE, count - 1, at + PACKET_SIZE + 4
            counter = (counter + 1) & 0x0F
        if anew:
            self._counter = None
        self._continue(counter, starts, out)
        self._counter = (counter + count - 1) & 0x0F
        last = at + (count - 1) * PACKET_SIZE
        self._payload = buffer[begin if count == 1 else last + 4 : last + PACKET_SIZE]
        if starts:
            self._finish_by_start(out)
            self._open = True
            self._random_access = entry
        elif not self._open:
            self._continued_after_end()
            return
        elif self._stuffed:
            # Stuffing in mid-packet: this muxer's stuffing says nothing.
            self._proof = None
        self._count += count
        if count == 1:
            self._data += buffer[begin : at + PACKET_SIZE]
        else:
            end = at + count * PACKET_SIZE
            self._data += b"".join([buffer[p : p + 184] for p in range(begin, end, PACKET_SIZE)])
        self._stuffed = stuffed
        if len(self._data) > _LIMIT:
            self.lose()
            return
        self._finish_if_complete(out)

    def end_segment(self) -> ElementaryPacket | None:
        self._new_segment = True
        if not self._open or len(self._data) < 9 or self._wanted or self._cuts_packets:
            return None
        self._flushed = True
        return self._take()

    def finish(self) -> ElementaryPacket | None:
        if not self._open or len(self._data) < 9 or self._wanted:
            self._forget()
            return None
        return self._take()

    def lose(self) -> None:
        """Something of this track is missing from here on."""
        self._forget()
        self._lost = True
        self._counter = None
        self._guessed = self._flushed = False

    def _forget(self) -> None:
        """The packet under way is none: nothing of it is in the next one."""
        self._data = bytearray()
        self._count = 0
        self._open = self._stuffed = self._damaged = False
        self._wanted = None

    def _continue(self, counter: int, starts: bool, out: list[ElementaryPacket]) -> None:
        """Compare with the counter before: what is between them was lost."""
        last, fresh = self._counter, self._new_segment
        self._new_segment = False
        if last is None or counter == (last + 1) & 0x0F or (fresh and starts):
            return
        self._stats.lost_packets += (counter - last - 1) & 0x0F
        if starts and self._stuffed and self._proof is not None and not self._wanted:
            # It ended in stuffing, so it was whole as far as this muxer is known: a stream that
            # begins anew, with another counter, takes nothing from it.
            self._finish_by_start(out)
        self._lost = True
        self._damaged = self._damaged or self._open
        self._guessed = self._flushed = False

    def _continued_after_end(self) -> None:
        """More bytes of a packet that was given away: unlearn what misled us."""
        if self._guessed:
            self._proof = None
        elif self._flushed:
            self._cuts_packets = True
        else:
            return
        self._guessed = self._flushed = False
        self._lost = True

    def _finish_by_start(self, out: list[ElementaryPacket]) -> None:
        self._guessed = self._flushed = False
        if not self._open:
            return
        if self._wanted:
            self._damaged = True
        elif self._proof is not None and self._stuffed and not self._damaged:
            # One that is a single transport packet says nothing of where others are stuffed.
            self._proof += self._count > 1
        packet = self._take()
        if packet is not None:
            out.append(packet)

    def _finish_if_complete(self, out: list[ElementaryPacket]) -> None:
        if self._wanted is None:
            if len(self._data) < 9:
                return
            length = self._data[4] << 8 | self._data[5]
            self._wanted = 6 + length if length else 0
        if self._wanted:
            if len(self._data) < self._wanted:
                return
        elif self._stuffed and self._proof is not None and self._proof >= _PROOF:
            self._guessed = True
        else:
            return
        packet = self._take()
        if packet is not None:
            out.append(packet)

    def _take(self) -> ElementaryPacket | None:
        data, wanted = self._data, self._wanted
        damaged, lost = self._damaged, self._lost
        self._forget()
        self._lost = False
        if data[:3] == b"\0\0\1" and data[3] in _NO_HEADER:
            self._lost = lost
            return None
        if len(data) < 9 or data[:3] != b"\0\0\1" or len(data) < 9 + data[8]:
            self._lost = True
            return None
        pts = dts = None
        if data[7] & 0x80 and data[8] >= 5:
            pts = dts = _timestamp(data, 9)
            if data[7] & 0x40 and data[8] >= 10:
                dts = _timestamp(data, 14)
        payload = bytes(memoryview(data)[9 + data[8] : wanted or len(data)])
        return ElementaryPacket(
            self.track,
            payload,
            pts,
            dts,
            self._random_access,
            damaged,
            lost or damaged,
            bool(wanted and wanted >= _FULL),
        )


def _stuffing(length: int, flags: int) -> int:
    """Bytes of an adaptation field that say nothing; 0 where private data hides their number."""
    if flags & 0x03:
        return 0
    return length - 1 - 6 * bool(flags & 0x10) - 6 * bool(flags & 0x08) - bool(flags & 0x04)


def _timestamp(data: bytearray, at: int) -> int:
    return (
        (data[at] >> 1 & 0x07) << 30
        | data[at + 1] << 22
        | (data[at + 2] >> 1) << 15
        | data[at + 3] << 7
        | data[at + 4] >> 1
    )
