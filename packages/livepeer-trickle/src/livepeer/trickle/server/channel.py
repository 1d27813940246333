"""A channel: five slots of segments, the next write number, and the rules that move it.

No HTTP and no task: the server's handlers, the embedding program and the tests drive the same
object. The rules are go-livepeer's, seen on a running server, except where `specs/trickle.md` says
that its behaviour is a defect.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from livepeer.trickle.exceptions import ChannelClosed
from livepeer.trickle.protocol import wire
from livepeer.trickle.server.limits import LimitExceeded, SegmentTaken, ServerLimits, Stock
from livepeer.trickle.server.segment import Segment
from livepeer.trickle.server.turn import ReadTurn, WriteTurn

__all__ = ["Channel", "ReadTurn", "SegmentWriter"]


class SegmentWriter:
    """A segment that the embedding program writes: `async with channel.segment() as segment`.

    Leaving the block ends the segment, short if by an exception, so that no reader hangs.
    """

    def __init__(self, turn: WriteTurn) -> None:
        self._turn = turn

    @property
    def seq(self) -> int:
        """The number of the segment."""
        return self._turn.seq

    async def write(self, data: bytes) -> None:
        """Add bytes. Raises LimitExceeded, and SegmentTaken where a later POST took the segment."""
        self._turn.write(data)
        await asyncio.sleep(0)  # readers live on the same loop: give them their turn

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._turn.finish()
        except SegmentTaken:
            if exc is None:
                raise


class Channel:
    """A named sequence of segments of which the newest five can be read."""

    def __init__(
        self,
        name: str,
        mime_type: str = "",
        *,
        limits: ServerLimits | None = None,
        stock: Stock | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_close: Callable[[Channel], None] = lambda channel: None,
    ) -> None:
        self.name = name
        self.mime_type = mime_type
        self.next_seq = 0
        self.closed = False
        self.size = 0
        """Bytes held, with those that slow readers still read of overwritten segments."""
        self.limits = limits or ServerLimits()
        self._stock = stock or Stock(self.limits.total_bytes)
        self.written_at = clock()
        """When the last byte was written, by the channel's clock."""
        self._clock = clock
        self._on_close = on_close
        self._ring: list[Segment | None] = [None] * wire.RING
        self._readers: dict[Segment, int] = {}
        self._retired: list[Segment] = []
        self._writers = 0
        self._turns = 0
        self._local_seq = 0

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"next {self.next_seq}"
        return f"<Channel {self.name!r} {self.mime_type!r} {state}>"

    # --- the embedding program -------------------------------------------------------------------

    async def write(self, data: bytes) -> int:
        """Write one whole segment and return its number.

        Raises ChannelClosed, and LimitExceeded where the segment is too long.
        """
        seq = self.put(data)
        await asyncio.sleep(0)  # a burst must not overrun readers that live on the same loop
        return seq

    def put(self, data: bytes) -> int:
        """`write` for code that can't await."""
        self._check_length(len(data))
        turn = self._local_turn()
        try:
            if data:
                turn.write(data)
            turn.segment.close()  # unlike an empty POST, an empty write moves no number
        finally:
            turn.leave()
        # The reference makes the following segment at once, so it takes a slot.
        self._slot(turn.seq + 1)
        return turn.seq

    def segment(self) -> SegmentWriter:
        """Open the next segment, to be written piece by piece."""
        return SegmentWriter(self._local_turn())

    def close(self) -> None:
        """End the channel: every reader gets the end, afterwards the name is free."""
        if self.closed:
            return
        self.closed = True
        ring, self._ring = self._ring, [None] * wire.RING
        for segment in ring:
            if segment is not None:
                self._retire(segment)
        self._on_close(self)

    # --- readers ---------------------------------------------------------------------------------

    def open_read(self, seq: int) -> ReadTurn | None:
        """Begin to read a segment, None where it is not to be had (470).

        `seq` may be -1 or -2. Asking for the next write (and for 1 while next is 0) makes it.
        """
        if self.closed:
            raise ChannelClosed(f"channel {self.name!r} has ended")
        if sum(self._readers.values()) >= self.limits.readers:
            raise LimitExceeded(f"over {self.limits.readers} readers", status=429, seq=seq)
        seq = self.resolve(seq)
        segment = self.get(seq)
        if segment is None:
            if seq != self.next_seq and not (seq == 1 and self.next_seq == 0):
                return None
            segment = self._slot(seq)
        self._readers[segment] = self._readers.get(segment, 0) + 1
        return ReadTurn(self, segment, self.next_seq)

    def resolve(self, seq: int) -> int:
        """The number that -1 (next write) or -2 (begun last) stands for; others as they are."""
        if seq == wire.NEXT_WRITE:
            return self.next_seq
        if seq == wire.CURRENT_WRITE:
            return max(self.next_seq - 1, 0)
        return seq

    def get(self, seq: int) -> Segment | None:
        """The segment, if it is in its slot."""
        segment = self._ring[seq % wire.RING]
        return segment if segment is not None and segment.seq == seq else None

    def _reader_left(self, reader: ReadTurn) -> None:
        segment = reader.segment
        count = self._readers.pop(segment, 0) - 1
        if count > 0:
            self._readers[segment] = count
        elif segment in self._retired:
            self._retired.remove(segment)
            self._hold(-segment.size)

    # --- writers ---------------------------------------------------------------------------------

    def open_write(self, seq: int, *, reset: bool = False) -> WriteTurn:
        """Begin to write a segment (-1: the next). `reset` closes the open ones before it."""
        if self.closed:
            raise ChannelClosed(f"channel {self.name!r} has ended")
        if self._writers >= self.limits.writers:
            raise LimitExceeded(f"over {self.limits.writers} writers", status=429, seq=seq)
        segment = self._slot(self.resolve(seq))
        if reset:
            for other in self._ring:
                if other is not None and other.seq < segment.seq:
                    other.close()
        self._writers += 1
        self._turns += 1
        return WriteTurn(self, segment, self._turns)

    def delete_segment(self, seq: int) -> bool:
        """Close one segment; False where it is not there."""
        segment = self.get(seq)
        if segment is None:
            return False
        segment.close()
        return True

    def _local_turn(self) -> WriteTurn:
        seq = max(self._local_seq, self.next_seq)
        while (segment := self.get(seq)) is not None and segment.closed:
            seq += 1
        turn = self.open_write(seq)
        self._local_seq = seq + 1
        return turn

    def _slot(self, seq: int) -> Segment:
        """The segment of that number, made where it is missing. What was in its slot ends."""
        old = self._ring[seq % wire.RING]
        if old is not None:
            if old.seq == seq:
                return old
            # The reference does this for a POST only: a GET left the old readers hanging.
            self._retire(old)
        segment = self._ring[seq % wire.RING] = Segment(seq)
        return segment

    def _retire(self, segment: Segment) -> None:
        segment.close()
        if segment in self._readers:
            self._retired.append(segment)
        else:
            self._hold(-segment.size)

    # --- what a write turn asks of its channel ---------------------------------------------------

    def _writer_left(self) -> None:
        self._writers -= 1

    def _move_next(self, seq: int) -> None:
        self.next_seq = seq
        self.written_at = self._clock()

    def _store(self, segment: Segment, data: bytes) -> None:
        self._check_length(segment.size + len(data), segment.seq)
        count = len(data)
        if self.size + count > self.limits.channel_bytes:
            self._make_room(count, segment)
        if self._stock.size + count > self._stock.limit:
            self._give_back(count, segment)
        self._hold(count)
        self.written_at = self._clock()
        segment.append(data)

    def _hold(self, count: int) -> None:
        self.size += count
        self._stock.size += count

    def _check_length(self, length: int, seq: int | None = None) -> None:
        limit = self.limits.segment_bytes
        if length > limit:
            raise LimitExceeded(f"a segment may have {limit} bytes", status=413, seq=seq)

    def _finished(self, writing: Segment) -> list[Segment]:
        """Those that could make room for `writing`, the oldest first."""
        found = [s for s in self._ring if s is not None and s.closed and s is not writing]
        return sorted(found, key=lambda segment: segment.seq)

    def _discard(self, segment: Segment) -> None:
        if self.get(segment.seq) is segment:
            self._ring[segment.seq % wire.RING] = None
        else:
            self._retired.remove(segment)
        self._hold(-segment.size)
        segment.discard()

    def _make_room(self, count: int, writing: Segment) -> None:
        """Room in the channel, also at the cost of slow readers."""
        for segment in [*self._retired, *self._finished(writing)]:
            if self.size + count <= self.limits.channel_bytes:
                return
            self._discard(segment)
        if self.size + count > self.limits.channel_bytes:
            limit = self.limits.channel_bytes
            raise LimitExceeded(f"the channel may hold {limit} bytes", status=413, seq=writing.seq)

    def _give_back(self, count: int, writing: Segment) -> None:
        """Room in the server, at nobody's cost."""
        for segment in self._finished(writing):
            if self._stock.size + count <= self._stock.limit:
                return
            if segment not in self._readers:
                self._discard(segment)
        if self._stock.size + count > self._stock.limit:
            raise LimitExceeded(
                f"the server may hold {self._stock.limit} bytes of all channels",
                status=507,
                seq=writing.seq,
            )
