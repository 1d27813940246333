"""Records on their way to a caller: a bounded queue in front of a channel that may be slow or gone.

A frame never waits for a record. Records without room are dropped, oldest first, and counted.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from livepeer.runner.author.jsonable import plain
from livepeer.trickle import JSONLPublisher, SegmentFailed, TrickleError
from livepeer.trickle.protocol.records import encode

logger = logging.getLogger(__name__)

REOPEN_SECONDS = 2.0
"""Between two tries to open a channel that is gone."""
CLOSE_SECONDS = 5.0
"""What the records that wait get at the end to be sent."""
TURN = 64
"""Records that are sent before others get their turn on the loop."""

ChannelMaker = Callable[[bool], JSONLPublisher]
"""Opens the channel. True: it was open before, and may have to be created again."""


class Outbox:
    """Owns one channel of records, from `start` to `aclose`; without a URL it swallows them.

    A channel that is gone is opened anew with the next record: orchestrators sweep a quiet data
    channel one by one while its stream lives (go-livepeer: 5 minutes without a first byte). So that
    this does not happen, `idle_seconds` of quiet send an empty segment, which readers pass over and
    the sweep counts.
    """

    def __init__(
        self,
        name: str,
        open_channel: ChannelMaker | None,
        *,
        size: int,
        idle_seconds: float | None = None,
    ) -> None:
        self.name = name
        self.posted = 0
        """Records of the pipeline's author, whatever became of them."""
        self.sent = 0
        self.dropped = 0
        """Records that never left: there was no room, no channel, or no time at the end."""
        self.uncertain = 0
        """Records whose segment broke off: they may have arrived, and are not sent again."""
        self.lost: str | None = None
        """Why the channel is gone, as long as it is."""
        self._open = open_channel
        self._size = size
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._waiting: deque[dict[str, Any]] = deque()
        self._wake = asyncio.Event()
        self._taken = 0
        """Records that the channel has taken and not yet sent."""
        self._woken = False
        self._closing = False
        self._settled = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._open is not None:
            self._task = asyncio.create_task(self._run(self._open), name=f"live-{self.name}")

    def post(self, record: dict[str, Any]) -> None:
        """As `put`, for an author's record: it is copied and checked, in the author's own call.

        Values of numpy become numbers and lists. Raises `ValueError`, with the key, for a record
        that the channel can never carry.
        """
        made = plain(record)
        encode(made)
        self.put(made)
        self.posted += 1

    def put(self, record: dict[str, Any]) -> None:
        """Queue a record. From any thread; never waits."""
        if self._open is None:
            return
        with self._lock:
            if self._closing:
                self.dropped += 1
                return
            if len(self._waiting) >= self._size:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(record)
            woken, self._woken = self._woken, True
        if not woken:
            with suppress(RuntimeError):  # a thread that outlived its loop
                self._loop.call_soon_threadsafe(self._wake.set)

    async def settled(self) -> None:
        """While it closes: wait until the counters are final. The channel may linger on."""
        await self._settled.wait()

    async def aclose(self, limit: float = CLOSE_SECONDS) -> None:
        """Send what waits, within `limit` seconds, and close the channel."""
        with self._lock:
            self._closing = True
        self._wake.set()
        task, self._task = self._task, None
        try:
            if task is not None:
                try:
                    await asyncio.wait((task,), timeout=limit)
                finally:
                    task.cancel()
                    await asyncio.wait((task,))
        finally:
            self.dropped += len(self._waiting)
            self._waiting.clear()
            self._settled.set()

    async def _run(self, open_channel: ChannelMaker) -> None:
        again = False
        while not self._closing or self._waiting:
            channel, again = open_channel(again), True
            try:
                async with channel:
                    await self._send(channel)
            except TrickleError as error:
                self._gone(error)
            finally:
                self.uncertain += channel.stats.uncertain
                unsent = channel.unsent
                self._count(-len(unsent))
                self._put_back(*unsent)
            if self._closing:
                return
            await self._pause()

    async def _send(self, channel: JSONLPublisher) -> None:
        while True:
            while (record := self._next()) is not None:
                await self._write(channel, record)
                if self._taken == TURN:
                    await self._flush(channel)
                    await asyncio.sleep(0)  # a write that only gathers does not wait
            await self._flush(channel)  # a channel that is gone is noticed with this record
            if self._closing:
                self._settled.set()
                return
            try:
                async with asyncio.timeout(self._idle_seconds):
                    await self._wake.wait()
            except TimeoutError:
                await channel.keep_alive()

    async def _write(self, channel: JSONLPublisher, record: dict[str, Any]) -> None:
        try:
            await channel.write(record)
        except SegmentFailed:
            return  # counted there; the next record has a segment of its own
        except (TypeError, ValueError) as error:
            # It will never be one: to try again would hold up all that come after it.
            self.dropped += 1
            logger.warning("a record for %s was left out: %s", self.name, error)
            return
        except TrickleError:
            self._put_back(record)
            raise
        except asyncio.CancelledError:
            self.uncertain += 1
            raise
        self._taken += 1

    async def _flush(self, channel: JSONLPublisher) -> None:
        await channel.flush()
        if self._taken:
            self.lost = None
        self._count()

    def _count(self, correction: int = 0) -> None:
        """The records that the channel took have left, as far as is known."""
        self.sent += self._taken + correction
        self._taken = 0

    def _next(self) -> dict[str, Any] | None:
        with self._lock:
            return self._waiting.popleft() if self._any() else None

    def _any(self) -> bool:
        """Whether a record waits; if none does, the next `put` wakes us. Inside the lock."""
        if not self._waiting and not self._closing:
            self._woken = False
            self._wake.clear()
        return bool(self._waiting)

    def _put_back(self, *records: dict[str, Any]) -> None:
        """In front of the records that came later; without room the oldest are dropped."""
        with self._lock:
            room = self._size - len(self._waiting)
            kept = records[max(0, len(records) - room) :]
            self._waiting.extendleft(reversed(kept))
            self.dropped += len(records) - len(kept)

    def _gone(self, error: TrickleError) -> None:
        if self.lost is None:
            logger.warning("the %s channel is gone, it is opened again: %s", self.name, error)
        self.lost = error.message

    async def _pause(self) -> None:
        """Until there is a record to send again, and `REOPEN_SECONDS` at least."""
        await asyncio.sleep(REOPEN_SECONDS)
        while not self._closing:
            with self._lock:
                if self._any():
                    return
            await self._wake.wait()
