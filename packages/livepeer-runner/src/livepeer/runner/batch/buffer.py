"""A bounded buffer between a generator and the connection it is sent on.

What the generator yields while a write is under way is joined into the next one, so that a fast
stream costs one wake-up for many events and a slow one loses no time on any. A full buffer holds
the generator back: that is the back-pressure.
"""

from __future__ import annotations

import asyncio
import threading

HIGH_WATER = 64 * 1024
# An async generator that never waits gives the loop a turn this often, so that others, and its own
# reader, are not kept waiting until the buffer is full.
TURN_SECONDS = 0.002


class StreamClosed(Exception):
    """The reader has gone: the generator is to be closed."""


class EventBuffer:
    """One producer, a thread or a task; one consumer, on the event loop that made it."""

    def __init__(self, high_water: int = HIGH_WATER) -> None:
        self._loop = asyncio.get_running_loop()
        self._high_water = high_water
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._chunks: list[bytes] = []
        self._size = 0
        self._closed = False
        self._ended = False
        self._error: BaseException | None = None
        self._consumer: asyncio.Future[None] | None = None
        self._producer: asyncio.Future[None] | None = None
        self._wake_due = False
        self._last_turn = 0.0

    def put_blocking(self, chunk: bytes) -> None:
        """From the producer's thread. Waits for room; raises `StreamClosed`."""
        with self._lock:
            while self._size >= self._high_water and not (self._closed or self._ended):
                self._room.wait()
            self._add(chunk)
            due, self._wake_due = self._wake_due, False
        if due:
            self._loop.call_soon_threadsafe(self._wake)

    async def put(self, chunk: bytes) -> None:
        """From the producer's task. Waits for room; raises `StreamClosed`."""
        while self._size >= self._high_water and not (self._closed or self._ended):
            self._producer = self._loop.create_future()
            await self._producer
        with self._lock:
            self._add(chunk)
        if self._wake_due:
            self._wake_due = False
            self._wake()
        now = self._loop.time()
        if now - self._last_turn > TURN_SECONDS:
            self._last_turn = now
            await asyncio.sleep(0)

    def insert(self, chunk: bytes) -> None:
        """From any thread, without waiting: for the few bytes of a heartbeat or of progress."""
        with self._lock:
            if self._closed or self._ended:
                return
            self._chunks.append(chunk)
            self._size += len(chunk)
        self._wake_threadsafe()

    def end(self, error: BaseException | None = None) -> None:
        """From any thread: nothing more comes. The first end counts."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            self._error = error
            self._room.notify_all()
        self._wake_threadsafe()

    def close(self) -> None:
        """From the consumer: the producer's next `put` raises `StreamClosed`."""
        with self._lock:
            self._closed = True
            self._chunks.clear()
            self._room.notify_all()
        self._wake_producer()

    async def get(self) -> bytes:
        """All that there is, at least one chunk; `b""` at the end. Raises the producer's error."""
        while True:
            with self._lock:
                if self._chunks:
                    chunks, self._chunks = self._chunks, []
                    self._size = 0
                    self._room.notify_all()
                    break
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return b""
                self._consumer = self._loop.create_future()
                self._wake_due = True
            await self._consumer
        self._wake_producer()
        return b"".join(chunks)

    def _add(self, chunk: bytes) -> None:
        if self._closed or self._ended:
            raise StreamClosed
        self._chunks.append(chunk)
        self._size += len(chunk)

    def _wake_threadsafe(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            pass  # the loop has closed: nobody reads any more

    def _wake(self) -> None:
        if self._consumer is not None and not self._consumer.done():
            self._consumer.set_result(None)
        if self._ended:
            self._wake_producer()

    def _wake_producer(self) -> None:
        if self._producer is not None and not self._producer.done():
            self._producer.set_result(None)
