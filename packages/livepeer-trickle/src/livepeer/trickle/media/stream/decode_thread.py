"""The one thread that decodes a stream: bytes go in from the event loop, frames come out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from livepeer.trickle.media.codec.decoder import StreamDecoder
from livepeer.trickle.media.frame import Item, VideoFrame
from livepeer.trickle.media.stream.handover import Handover, Undecoded
from livepeer.trickle.media.ts.units import PACKET_SIZE

logger = logging.getLogger(__name__)

_WAITING = 1 << 20
"""Bytes that may wait for the thread before the reader has to: a quarter second at 30 Mbit/s."""
_PIECE = 87 * PACKET_SIZE
"""The thread looks whether it is closed after so many bytes: some frames at most."""
_LEAST = 1 << 10
"""What the smallest piece of work counts as, so that not too many of them wait either."""

_Work = Callable[[], list[Item]]


class DecodeThread:
    """Owns a `StreamDecoder` and the thread on which it is used, unless it is lent: a taker that
    waits may decode the next bytes in a thread of its own, where the picture goes on its way.

    The thread begins with the first bytes that it has to decode. `feed` waits while it has enough
    to do, which holds back the socket. `aclose` ends it within `limit` seconds, whatever waits.
    """

    def __init__(self, decoder: StreamDecoder, handover: Handover, *, limit: float = 5.0) -> None:
        self._decoder = decoder
        self._handover = handover
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._ready = threading.Condition()
        self._work: deque[tuple[int, _Work]] = deque()
        self._waiting = 0
        self._lent = False
        self._closed = False
        self._last = False
        self._room = asyncio.Event()
        self._done = asyncio.Event()
        self._thread: threading.Thread | None = None

    async def feed(self, data: bytes) -> None:
        """Bytes of the current segment."""
        pieces = [data[at : at + _PIECE] for at in range(0, len(data), _PIECE)]
        jobs: list[tuple[int, _Work]] = [
            (len(piece), partial(self._decoder.feed, piece)) for piece in pieces
        ]
        if not self._lend(jobs):
            for size, job in jobs:
                await self._add(size, job)

    async def end_segment(self) -> None:
        if not self._lend([(0, self._decoder.end_segment)]):
            await self._add(0, self._decoder.end_segment)

    async def discontinuity(self) -> None:
        await self._add(0, self._decoder.discontinuity)

    async def finish(self) -> None:
        """Nothing more comes: flush, end the hand-over, end the thread."""
        await self._add(0, self._decoder.flush, last=True)

    async def aclose(self) -> None:
        """End the thread; what it has not decoded is lost. Safe to call again."""
        with self._ready:
            self._closed = True
            self._work.clear()
            self._ready.notify()
        self._handover.close()
        self._room.set()
        if self._thread is None:
            return
        try:
            async with asyncio.timeout(self._limit):
                await self._done.wait()
        except TimeoutError:
            logger.error(
                "the decoder did not stop within %g s; its thread is left alone", self._limit
            )
        else:
            self._thread.join()

    async def _add(self, size: int, work: _Work, *, last: bool = False) -> None:
        size = max(size, _LEAST)
        while self._waiting > _WAITING and not self._closed:
            self._room.clear()
            # Looked at again: the thread may have caught up before the event was cleared.
            if self._waiting > _WAITING:
                await self._room.wait()
        with self._ready:
            if self._closed or self._last:
                return
            self._work.append((size, work))
            self._waiting += size
            self._last = last
            self._turn_over()

    def _turn_over(self) -> None:
        """Let the thread go on; it begins with the first that it has to do. Inside the lock."""
        self._ready.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="livepeer-decode", daemon=True)
            self._thread.start()

    def _lend(self, jobs: list[tuple[int, _Work]]) -> bool:
        """Whether the taker does `jobs`: only where nothing is before them."""
        with self._ready:
            if self._lent or self._waiting or self._closed or self._last:
                return False
            self._lent = self._handover.offer(Undecoded(lambda: self._decode_lent(deque(jobs))))
            return self._lent

    def _decode_lent(self, jobs: deque[tuple[int, _Work]]) -> VideoFrame | None:
        """In the taker's thread, up to the first that comes out; the rest is the thread's."""
        items: list[Item] = []
        try:
            while jobs and not items:
                items = jobs.popleft()[1]()
        except Exception as error:  # noqa: BLE001 — raised in the task that takes the frames
            with self._ready:
                self._closed = True
            self._handover.end(error)
        first = items[0] if items and isinstance(items[0], VideoFrame) else None
        if rest := items if first is None else items[1:]:
            self._handover.put_rest(rest)
        with self._ready:
            self._lent = False
            if self._closed:
                self._ready.notify()
                return first
            self._work.extendleft(reversed(jobs))
            self._waiting += sum(size for size, _ in jobs)
            if self._work:
                self._turn_over()
        return first

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            while self._step():
                pass
        except Exception as failure:  # noqa: BLE001 — raised in the task that takes the frames
            error = failure
        finally:
            self._handover.end(error)
            with self._ready:
                self._closed = True
            self._tell(self._room.set)
            self._tell(self._done.set)

    def _step(self) -> bool:
        with self._ready:
            while (self._lent or not (self._work or self._last)) and not self._closed:
                self._ready.wait()
            if self._closed or not self._work:
                return False
            size, work = self._work.popleft()
        for item in work():
            if not self._handover.put(item):
                return False
        with self._ready:
            was_full = self._waiting > _WAITING
            self._waiting -= size
        if was_full:
            self._tell(self._room.set)
        return True

    def _tell(self, callback: Callable[[], None]) -> None:
        # A loop that is closed has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)
