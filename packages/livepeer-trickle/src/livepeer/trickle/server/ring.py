"""The slots of a channel: its segments, the bytes they hold, and who reads and writes them."""

from __future__ import annotations

from collections.abc import Callable

from livepeer.trickle.exceptions import ChannelClosed
from livepeer.trickle.protocol import wire
from livepeer.trickle.server.limits import LimitExceeded, ServerLimits, Stock
from livepeer.trickle.server.segment import Segment


class Ring:
    """Five slots of segments, the next write number, and the bounds on all of it."""

    def __init__(
        self, name: str, limits: ServerLimits, stock: Stock, clock: Callable[[], float]
    ) -> None:
        self.name = name
        self.limits = limits
        self.stock = stock
        self.next_seq = 0
        self.closed = False
        self.size = 0
        """Bytes held, with those that slow readers still read of overwritten segments."""
        self.written_at = clock()
        """When the last byte was written, by the channel's clock."""
        self.readers = 0
        self.writers = 0
        self.slots: list[Segment | None] = [None] * wire.RING
        self.retired: list[Segment] = []
        """Overwritten segments that are still read."""
        self._clock = clock
        self._read: dict[Segment, int] = {}

    def close(self) -> None:
        """End every segment; the ring stays empty."""
        self.closed = True
        slots, self.slots = self.slots, [None] * wire.RING
        for segment in slots:
            if segment is not None:
                self._retire(segment)

    # --- segments --------------------------------------------------------------------------------

    def get(self, seq: int) -> Segment | None:
        """The segment, if it is in its slot."""
        segment = self.slots[seq % wire.RING]
        return segment if segment is not None and segment.seq == seq else None

    def slot(self, seq: int) -> Segment:
        """The segment of that number; a missing one is made, and the one in its slot ends."""
        old = self.slots[seq % wire.RING]
        if old is not None:
            if old.seq == seq:
                return old
            # The reference does this for a POST only: a GET left the old readers hanging.
            self._retire(old)
        segment = self.slots[seq % wire.RING] = Segment(seq)
        return segment

    def move_next(self, seq: int) -> None:
        """The next write number is `seq` now."""
        self.next_seq = seq
        self.written_at = self._clock()

    def store(self, segment: Segment, *pieces: bytes) -> None:
        """Add bytes. Raises `LimitExceeded` if there is no room for them, nor can be made."""
        count = sum(map(len, pieces))
        self.check_length(segment.size + count, segment.seq)
        if self.size + count > self.limits.channel_bytes:
            self._make_room(count, segment)
        if self.stock.size + count > self.stock.limit:
            self._give_back(count, segment)
        self._hold(count)
        self.written_at = self._clock()
        segment.append(*pieces)

    def check_length(self, length: int, seq: int | None = None) -> None:
        """Raise `LimitExceeded` if a segment may not be so long."""
        limit = self.limits.segment_bytes
        if length > limit:
            raise LimitExceeded(f"a segment may have {limit} bytes", status=413, seq=seq)

    # --- readers and writers ---------------------------------------------------------------------

    def check_open(self) -> None:
        """Raise `ChannelClosed` after the end."""
        if self.closed:
            raise ChannelClosed(f"channel {self.name!r} has ended")

    def reader_came(self, segment: Segment) -> None:
        self.readers += 1
        self._read[segment] = self._read.get(segment, 0) + 1

    def reader_left(self, segment: Segment) -> None:
        count = self._read.pop(segment, 0) - 1
        if count >= 0:
            self.readers -= 1
        if count > 0:
            self._read[segment] = count
        elif segment in self.retired:
            self.retired.remove(segment)
            self._hold(-segment.size)

    def writer_came(self) -> None:
        self.writers += 1

    def writer_left(self) -> None:
        self.writers -= 1

    # --- room ------------------------------------------------------------------------------------

    def _hold(self, count: int) -> None:
        self.size += count
        self.stock.size += count

    def _retire(self, segment: Segment) -> None:
        segment.close()
        if segment in self._read:
            self.retired.append(segment)
        else:
            self._hold(-segment.size)

    def _finished(self, writing: Segment) -> list[Segment]:
        """Segments that could make room for `writing`, the oldest first."""
        found = [s for s in self.slots if s is not None and s.closed and s is not writing]
        return sorted(found, key=lambda segment: segment.seq)

    def _discard(self, segment: Segment) -> None:
        if self.get(segment.seq) is segment:
            self.slots[segment.seq % wire.RING] = None
        else:
            self.retired.remove(segment)
        self._hold(-segment.size)
        segment.discard()

    def _make_room(self, count: int, writing: Segment) -> None:
        """Room in the channel, also at the cost of slow readers."""
        for segment in [*self.retired, *self._finished(writing)]:
            if self.size + count <= self.limits.channel_bytes:
                return
            self._discard(segment)
        if self.size + count > self.limits.channel_bytes:
            limit = self.limits.channel_bytes
            raise LimitExceeded(f"the channel may hold {limit} bytes", status=413, seq=writing.seq)

    def _give_back(self, count: int, writing: Segment) -> None:
        """Room in the server, without cutting a reader."""
        for segment in self._finished(writing):
            if self.stock.size + count <= self.stock.limit:
                return
            if segment not in self._read:
                self._discard(segment)
        if self.stock.size + count > self.stock.limit:
            raise LimitExceeded(
                f"the server may hold {self.stock.limit} bytes of all channels",
                status=507,
                seq=writing.seq,
            )
