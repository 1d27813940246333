"""One segment's bytes, and a place to read them from. Nothing here knows HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from livepeer.trickle.http.buffer import PIECE

BLOCK: Final = 16 * 1024
"""Small writes are joined up to this size, so that a segment of many records costs its bytes (not
an object for each), and a late reader gets it in a few writes."""

Push = Callable[[bytes], bool]
"""Takes bytes in the call that adds them; False where it cannot."""


class Segment:
    """Bytes that grow until the segment is closed. Any number of cursors read them meanwhile."""

    __slots__ = (
        *("_closers", "_framed", "_waiters", "chunks", "closed", "discarded", "owner", "seq"),
        "size",
    )

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.size = 0
        self.closed = False
        self.discarded = False
        """The bytes were given up for memory: a reader that has not had them all is cut."""
        self.owner = 0
        """Number of the write turn whose bytes are taken, 0 for none."""
        self.chunks: list[bytes] = []
        self._waiters: list[tuple[asyncio.Future[None], Push | None]] = []
        self._closers: list[Callable[[], None]] = []
        self._framed: tuple[bytes, bytes] = (b"", b"")

    def append(self, data: bytes) -> None:
        """Add bytes, and wake the readers."""
        self.size += len(data)
        if self.chunks and len(self.chunks[-1]) + len(data) <= BLOCK:
            self.chunks[-1] += data
        elif len(data) <= PIECE:
            self.chunks.append(data)
        else:
            # So that a slow reader's connection buffers no more.
            self.chunks += [data[i : i + PIECE] for i in range(0, len(data), PIECE)]
            self._wake()
            return
        waiters, self._waiters = self._waiters, []
        for waiter, push in waiters:
            if waiter.done():
                continue
            if push is not None and push(data):
                self._waiters.append((waiter, push))
            else:
                waiter.set_result(None)

    def close(self) -> None:
        """End the segment: readers get the end, an idle writer is told. Again: nothing."""
        if self.closed:
            return
        self.closed = True
        self._framed = (b"", b"")
        self._wake()
        closers, self._closers = self._closers, []
        for closer in closers:
            closer()

    def discard(self) -> None:
        """Give up the bytes."""
        self.discarded = True
        self.chunks = []
        self.closed = True
        self._wake()

    def on_close(self, closer: Callable[[], None]) -> None:
        """Call `closer` once when the segment closes."""
        self._closers.append(closer)

    def forget(self, closer: Callable[[], None]) -> None:
        """Undo `on_close`."""
        if closer in self._closers:
            self._closers.remove(closer)

    def framed(self, data: bytes, frame: Callable[[bytes], bytes]) -> bytes:
        """What `frame` makes of bytes that a cursor took: once for all readers that are at the same
        place, as those of a live segment are."""
        if self._framed[0] is not data:
            self._framed = (data, frame(data))
        return self._framed[1]

    async def changed(self, push: Push | None = None) -> None:
        """Wait until bytes are added or the segment ends, and also while `push` takes the bytes:
        a task that wakes for each reader and chunk would cost more than to send it."""
        waiter = asyncio.get_running_loop().create_future()
        entry = (waiter, push)
        self._waiters.append(entry)
        try:
            await waiter
        except asyncio.CancelledError:
            if entry in self._waiters:  # not woken at the same moment
                self._waiters.remove(entry)
            raise

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter, _ in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Cursor:
    """A place in a segment."""

    __slots__ = ("_index", "_offset", "segment")

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self._index = 0
        self._offset = 0

    def take(self) -> bytes:
        """The next bytes that are there already, or nothing."""
        chunks = self.segment.chunks
        while self._index < len(chunks):
            chunk = chunks[self._index]
            if self._offset < len(chunk):
                data = chunk[self._offset :]
                self._offset = len(chunk)
                return data
            if self._index == len(chunks) - 1:
                break  # the last chunk may still grow
            self._index += 1
            self._offset = 0
        return b""

    def skip(self) -> None:
        """Everything that is there was taken."""
        self._index = len(self.segment.chunks) - 1
        self._offset = len(self.segment.chunks[-1])

    @property
    def at_end(self) -> bool:
        """Whether everything was taken and nothing more will come."""
        if not self.segment.closed:
            return False
        last = len(self.segment.chunks) - 1
        return last < 0 or (self._index == last and self._offset == len(self.segment.chunks[last]))
