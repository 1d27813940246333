"""One segment's bytes, and a place to read them from. Nothing here knows HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from livepeer.trickle.http.buffer import PIECE

BLOCK: Final = 16 * 1024
"""Small writes are joined up to this size, so that a segment of many records costs its bytes (not
an object for each), and a late reader gets it in a few writes."""

Push = Callable[[], bool]
"""Takes what was added, in the call that adds it; False where it cannot take all."""


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

    def append(self, *pieces: bytes) -> None:
        """Add bytes, and wake the readers once."""
        for data in pieces:
            self.size += len(data)
            if self.chunks and len(self.chunks[-1]) + len(data) <= BLOCK:
                self.chunks[-1] += data
            elif len(data) <= PIECE:
                self.chunks.append(data)
            else:
                # So that a slow reader's connection buffers no more.
                self.chunks += [data[i : i + PIECE] for i in range(0, len(data), PIECE)]
        waiters, self._waiters = self._waiters, []
        for entry in waiters:
            waiter, push = entry
            if waiter.done():
                continue
            if push is not None and push():
                self._waiters.append(entry)
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

    __slots__ = ("_index", "_offset", "_position", "segment")

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self._index = 0
        self._offset = 0
        self._position = 0

    @property
    def waiting(self) -> int:
        """Bytes that are there and were not taken."""
        return self.segment.size - self._position

    @property
    def at_end(self) -> bool:
        """Whether nothing more will come: everything was taken, or the bytes were given up."""
        return self.segment.closed and (not self.waiting or self.segment.discarded)

    def take(self, most: int = PIECE) -> bytes:
        """The next bytes that are there already, those of one piece, or nothing."""
        for part in self.peek(min(self.waiting, most)):
            self.advance(len(part))
            return bytes(part)
        return b""

    def peek(self, count: int) -> list[bytes | memoryview]:
        """The next `count` bytes, which are there, as they are kept."""
        chunks = self.segment.chunks
        index, offset = self._index, self._offset
        parts: list[bytes | memoryview] = []
        while count and index < len(chunks):
            chunk: bytes | memoryview = chunks[index]
            if offset or len(chunk) > count:
                chunk = memoryview(chunk)[offset : offset + count]
            if chunk:
                parts.append(chunk)
                count -= len(chunk)
            index += 1
            offset = 0
        return parts

    def advance(self, count: int) -> None:
        """The next `count` bytes, which are there, were taken."""
        self._position += count
        chunks = self.segment.chunks
        while count:
            left = len(chunks[self._index]) - self._offset
            if count <= left:
                self._offset += count  # at the end of one that may still grow
                return
            count -= left
            self._index += 1
            self._offset = 0
