"""From a decoding thread to an event loop: a bounded queue that knows what may be dropped."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from livepeer.trickle.media.frame import Item, VideoFrame
from livepeer.trickle.media.frame.interleave import pictures_that_may_wait

Policy = Literal["latest", "all"]

PATIENCE = 0.05
"""Seconds after which a waiting picture is too old for real time, if there is a newer one."""
GRACE = 0.2
"""... but only where the task has not kept up for so many seconds: a keyframe takes several times
as long as another picture, and those of many streams may come at once. None is lost for that."""

_OTHERS = 500
"""What may wait beside the video frames before the thread has to: about ten seconds of audio."""


class Undecoded:
    """Bytes that a taker decodes itself, in its own thread: `decode` is called once, anywhere.

    It returns the first picture that they complete, if any; what else they complete is taken next.
    """

    def __init__(self, decode: Callable[[], VideoFrame | None]) -> None:
        self.decode = decode


class Handover:
    """One thread puts, one task takes.

    `latest`: where the task has been behind for `GRACE`, a video frame that has waited for
    `PATIENCE` while newer ones came is dropped and counted, and so is, at any time, the oldest of
    more than `limit`. A short burst or pause costs nothing.
    `all`: the thread waits for room instead. Audio and undecoded packets are never dropped; with
    either policy the thread waits where hundreds of them do.
    """

    def __init__(self, policy: Policy, limit: int) -> None:
        self._policy = policy
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._room = threading.Condition()
        self._items: deque[tuple[float, Item]] = deque()
        self._video = 0
        self._waiter: asyncio.Future[None] | None = None
        self._early: Callable[[], bool] | None = None
        """Whether the task that waits would decode by itself."""
        self._undecoded: Undecoded | None = None
        self._kept_up = time.monotonic()
        """When something came last for which the task was waiting."""
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        self.dropped = 0
        """Video frames dropped to make room."""

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> bool:
        """From the thread; waits for room where the policy says so. False once closed."""
        with self._room:
            limit = self._make_room(item)
            if self._policy != "latest" or not isinstance(item, VideoFrame):
                while self._is_full(item, limit) and not self._closed:
                    self._room.wait()
            if self._closed:
                return False
            self._append(item)
        self._wake()
        return True

    def put_rest(self, items: Sequence[Item]) -> None:
        """From any thread: what came with a picture that its taker has decoded; never waits."""
        with self._room:
            for item in items:
                self._make_room(item)
                if not self._closed:
                    self._append(item)
        self._wake()

    def offer(self, undecoded: Undecoded) -> bool:
        """From the loop: whether the task takes these bytes as they are. It does where it waits,
        so that the picture in them need not change threads on its way."""
        with self._room:
            early, waiter = self._early, self._waiter
            if waiter is None or waiter.done() or early is None or not early():
                return False
            if self._items or self._ended:
                return False
            self._kept_up = time.monotonic()
            self._undecoded = undecoded
        self._awake()
        return True

    def end(self, error: BaseException | None = None) -> None:
        """From either side: nothing more will come; `error` is raised after the last item."""
        with self._room:
            self._ended = True
            self._error = self._error or error
        self._wake()

    def fail(self, error: BaseException) -> None:
        """From the task: raise `error` after the last item, whenever that comes."""
        with self._room:
            self._error = self._error or error

    def close(self) -> None:
        """From the task: drop everything, and let the thread go."""
        with self._room:
            self._closed = self._ended = True
            self._undecoded = None
            self._items.clear()
            self._video = 0
            self._room.notify_all()
        self._wake()

    async def take(self, early: Callable[[], bool] | None = None) -> Item | Undecoded | None:
        """The oldest item; `None` at the end. Cancelling it loses nothing.

        `early` is asked when bytes come while it waits: True has them given out undecoded.
        """
        while True:
            with self._room:
                if self._undecoded is not None:
                    undecoded, self._undecoded = self._undecoded, None
                    return undecoded
                if self._policy == "latest":
                    self._drop_stale()
                if self._items:
                    _, item = self._items.popleft()
                    self._video -= isinstance(item, VideoFrame)
                    self._room.notify()
                    return item
                if self._ended:
                    error, self._error = self._error, None
                    if error is not None:
                        raise error
                    return None
                if self._waiter is not None and not self._waiter.done():
                    # It would take the place of the first one, which would wait for ever.
                    raise RuntimeError(
                        "another task is waiting for this subscriber's next frame: let one task "
                        "iterate and share what it takes, or give each a subscriber of its own"
                    )
                self._waiter = self._loop.create_future()
                self._early = early
            await self._waiter

    def _make_room(self, item: Item) -> int:
        """Drop what is too old or too much for this one; how many pictures of its size may wait."""
        if not isinstance(item, VideoFrame):
            return self._limit
        limit = pictures_that_may_wait(self._limit, item.width, item.height)
        if self._policy == "latest":
            while self._video >= limit:
                self._drop_oldest()
            self._drop_stale()
        return limit

    def _append(self, item: Item) -> None:
        now = time.monotonic()
        if self._waiter is not None and not self._items:
            self._kept_up = now
        self._items.append((now, item))
        self._video += isinstance(item, VideoFrame)

    def _is_full(self, item: Item, limit: int) -> bool:
        if isinstance(item, VideoFrame):
            return self._video >= limit
        return len(self._items) - self._video >= _OTHERS

    def _drop_stale(self) -> None:
        now = time.monotonic()
        if now - self._kept_up < GRACE:
            return
        late = now - PATIENCE
        while self._video > 1:
            oldest = next(at for at, item in self._items if isinstance(item, VideoFrame))
            if oldest > late:
                return
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        for index, (_, item) in enumerate(self._items):
            if isinstance(item, VideoFrame):
                del self._items[index]
                self._video -= 1
                self.dropped += 1
                return

    def _wake(self) -> None:
        # Only where somebody waits: waking the loop costs more than all the rest.
        if self._waiter is not None:
            # A loop that is closed has nobody left to tell.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._awake)

    def _awake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
