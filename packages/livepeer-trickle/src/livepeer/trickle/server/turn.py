"""A reader's and a writer's turn at a segment: who may write it, and when the next write number
moves."""

from __future__ import annotations

from livepeer.trickle.server.limits import LimitExceeded, SegmentTaken
from livepeer.trickle.server.ring import Ring
from livepeer.trickle.server.segment import Cursor, Segment


class ReadTurn(Cursor):
    """One reader's turn at one segment; close it when the reader is done or gone."""

    __slots__ = ("_ring", "latest")

    def __init__(self, ring: Ring, segment: Segment) -> None:
        super().__init__(segment)
        self._ring = ring
        self.latest = ring.next_seq
        """The next write number when the reader came."""
        ring.reader_came(segment)

    @property
    def terminated(self) -> bool:
        """Whether the channel has ended."""
        return self._ring.closed

    @property
    def latest_now(self) -> int:
        """The next write number now; what an empty answer tells."""
        return self._ring.next_seq

    def close(self) -> None:
        self._ring.reader_left(self.segment)


class WriteTurn:
    """One POST, or one writer of the embedding program, at one segment.

    Several may wait at the same segment. The first byte makes its writer the segment's owner; one
    that came later takes over with its own first byte, never the other way round. (The reference
    lets their bytes mix.) An owner that dropped leaves the segment open for the next one.
    """

    __slots__ = ("_left", "_ring", "number", "segment", "wrote")

    def __init__(self, ring: Ring, segment: Segment, number: int) -> None:
        self._ring = ring
        self._left = False
        self.number = number
        """Counts from 1 in the order in which the writers of a channel came."""
        self.segment = segment
        self.wrote = False
        ring.writer_came()

    @property
    def seq(self) -> int:
        """The number of the segment."""
        return self.segment.seq

    @property
    def terminated(self) -> bool:
        """Whether the channel has ended."""
        return self._ring.closed

    def write(self, *pieces: bytes) -> None:
        """Add bytes; those for a segment that somebody closed are dropped.

        Raises SegmentTaken, and LimitExceeded, which ends the segment.
        """
        segment = self.segment
        if segment.owner != self.number:
            if self.wrote or segment.owner > self.number:
                raise self._taken()
            segment.owner = self.number
            self.wrote = True
            if not segment.closed:
                self._ring.move_next(segment.seq + 1)
        if segment.closed:
            return
        try:
            self._ring.store(segment, *pieces)
        except LimitExceeded:
            segment.close()
            raise

    def finish(self) -> None:
        """End the segment and the turn. Without a byte it is an empty segment."""
        segment = self.segment
        try:
            if segment.owner == self.number:
                segment.close()
            elif self.wrote:
                raise self._taken()
            elif segment.owner == 0 and not segment.closed:
                self._ring.move_next(segment.seq + 1)
                segment.close()
        finally:
            self.leave()

    def too_late(self) -> None:
        """The segment was closed before this turn began. The next write moves behind it, also
        backwards, as in the reference."""
        self._ring.move_next(self.seq + 1)
        self.leave()

    def passed_over(self) -> None:
        """The segment was closed while this turn waited with its first byte. The next write moves
        behind it, but not backwards: the reference then hands out old segments."""
        if self._ring.next_seq <= self.seq:
            self._ring.move_next(self.seq + 1)
        self.leave()

    def leave(self) -> None:
        """End the turn only: the segment stays open, as after a dropped connection."""
        if self._left:
            return
        self._left = True
        if self.segment.owner == self.number:
            self.segment.owner = 0
        self._ring.writer_left()

    def _taken(self) -> SegmentTaken:
        return SegmentTaken("a later POST writes this segment", seq=self.seq)
