"""A channel: segments read and written by number, and the rules that move the next write number.

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

from livepeer.trickle.protocol import wire
from livepeer.trickle.server.limits import LimitExceeded, SegmentTaken, ServerLimits, Stock
from livepeer.trickle.server.ring import Ring
from livepeer.trickle.server.segment import Segment
from livepeer.trickle.server.turn import ReadTurn, WriteTurn


class LocalSegmentWriter:
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
    """A named sequence of segments; the newest five can be read."""

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
        self.limits = limits or ServerLimits()
        self._ring = Ring(name, self.limits, stock or Stock(self.limits.total_bytes), clock)
        self._on_close = on_close
        self._turns = 0
        self._local_seq = 0

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"next {self.next_seq}"
        return f"<Channel {self.name!r} {self.mime_type!r} {state}>"

    @property
    def next_seq(self) -> int:
        """The next write number."""
        return self._ring.next_seq

    @property
    def closed(self) -> bool:
        """Whether the channel has ended."""
        return self._ring.closed

    @property
    def size(self) -> int:
        """Bytes held, with those that slow readers still read of overwritten segments."""
        return self._ring.size

    @property
    def written_at(self) -> float:
        """When the last byte was written, by the channel's clock."""
        return self._ring.written_at

    @property
    def readers(self) -> int:
        """Requests that read it now."""
        return self._ring.readers

    @property
    def writers(self) -> int:
        """Requests, and writers of this program, that write it now."""
        return self._ring.writers

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
        self._ring.check_length(len(data))
        turn = self._local_turn()
        try:
            if data:
                turn.write(data)
            turn.segment.close()  # unlike an empty POST, an empty write moves no number
        finally:
            turn.leave()
        # The reference makes the following segment at once, so it takes a slot.
        self._ring.slot(turn.seq + 1)
        return turn.seq

    def segment(self) -> LocalSegmentWriter:
        """Open the next segment, to be written piece by piece."""
        return LocalSegmentWriter(self._local_turn())

    def close(self) -> None:
        """End the channel: every reader gets the end, afterwards the name is free."""
        if not self.closed:
            self._ring.close()
            self._on_close(self)

    # --- readers ---------------------------------------------------------------------------------

    def open_read(self, seq: int) -> ReadTurn | None:
        """Begin to read a segment; None if the ring does not have it (470).

        `seq` may be -1 or -2. Asking for the next write (and for 1 while next is 0) makes it.
        """
        self._ring.check_open()
        if self.readers >= self.limits.readers:
            raise LimitExceeded(f"over {self.limits.readers} readers", status=429, seq=seq)
        seq = self.resolve(seq)
        segment = self.get(seq)
        if segment is None:
            if seq != self.next_seq and not (seq == 1 and self.next_seq == 0):
                return None
            segment = self._ring.slot(seq)
        return ReadTurn(self._ring, segment)

    def resolve(self, seq: int) -> int:
        """The number that -1 (next write) or -2 (begun last) stands for; others as they are."""
        if seq == wire.NEXT_WRITE:
            return self.next_seq
        if seq == wire.CURRENT_WRITE:
            return max(self.next_seq - 1, 0)
        return seq

    def get(self, seq: int) -> Segment | None:
        """The segment, if it is in its slot."""
        return self._ring.get(seq)

    # --- writers ---------------------------------------------------------------------------------

    def open_write(self, seq: int, *, reset: bool = False) -> WriteTurn:
        """Begin to write a segment (-1: the next). `reset` closes the open ones before it."""
        self._ring.check_open()
        if self.writers >= self.limits.writers:
            raise LimitExceeded(f"over {self.limits.writers} writers", status=429, seq=seq)
        segment = self._ring.slot(self.resolve(seq))
        if reset:
            for other in self._ring.slots:
                if other is not None and other.seq < segment.seq:
                    other.close()
        self._turns += 1
        return WriteTurn(self._ring, segment, self._turns)

    def delete_segment(self, seq: int) -> bool:
        """Close one segment; False if it is not there."""
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
