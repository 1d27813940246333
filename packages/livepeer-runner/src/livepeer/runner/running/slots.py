"""The slots of one pipeline, each for one job or stream, and the queue for them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from livepeer.runner.errors import OverCapacity

RETRY_AT_MOST = 60
STUCK_SECONDS = 5.0
"""How long past its limit a job may hold its slot before it counts as stuck."""


class Slot:
    """One place for one job or stream. `release()` gives it back, once, however often called."""

    __slots__ = ("_due", "_slots", "_started")

    def __init__(self, slots: Slots) -> None:
        self._slots: Slots | None = slots
        self._started = time.monotonic()
        self._due = float("inf")
        slots._held.add(self)

    def limit(self, seconds: float | None) -> None:
        """The job has to end within `seconds` from now; None: no limit."""
        if seconds is not None:
            self._due = time.monotonic() + seconds

    def release(self) -> None:
        slots, self._slots = self._slots, None
        if slots is not None:
            slots._held.discard(self)
            slots._give_back(time.monotonic() - self._started)

    def __enter__(self) -> Slot:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class Slots:
    """`capacity` slots, and a queue for them in the order of arrival.

    `queue_size` is how many may wait; 0 gives a slot at once or refuses.
    """

    def __init__(
        self, capacity: int, on_change: Callable[[int], None], *, queue_size: int = 0
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}: a pipeline needs at least one slot")
        self.capacity = capacity
        self._on_change = on_change
        self._taken = 0
        self._held: set[Slot] = set()
        self._seconds = 0.0
        self._queue_size = queue_size
        self._waiting: deque[asyncio.Future[Slot]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._waiting)

    @property
    def room(self) -> int:
        """How many more may wait."""
        return self._queue_size - len(self._waiting)

    @property
    def taken(self) -> int:
        return self._taken

    @property
    def free(self) -> int:
        return max(0, self.capacity - self._taken)

    def stuck_for(self) -> float:
        """Seconds for which no slot has been but with a job that overran its limit; 0 where one is
        free, or with a job that may still run."""
        if self.free or not self._held:
            return 0.0
        newest = max(slot._due for slot in self._held)
        return max(0.0, time.monotonic() - newest - STUCK_SECONDS)

    def acquire(self) -> Slot:
        """Take a slot, or raise `OverCapacity` with a hint when to come again."""
        if self._taken >= self.capacity:
            raise self.full()
        self._taken += 1
        slot = Slot(self)
        self._on_change(self._taken)
        return slot

    def queue(self) -> asyncio.Future[Slot]:
        """A place in the queue, which is done once it has a slot. Raises `OverCapacity` where the
        queue is full too. `leave` gives it back."""
        if not self.room:
            raise self.full()
        turn: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        return turn

    def leave(self, turn: asyncio.Future[Slot]) -> None:
        """Give up a place in the queue, and the slot that it may have been given already."""
        if turn.done():
            if not turn.cancelled() and turn.exception() is None:
                turn.result().release()
        else:
            self._waiting.remove(turn)
            turn.cancel()

    def turn_away(self, error: Exception) -> None:
        """Fail all that wait in the queue with `error`: no slot will come free."""
        while self._waiting:
            self._waiting.popleft().set_exception(error)

    def full(self) -> OverCapacity:
        return OverCapacity(f"all {self.capacity} slots are taken", retry_after=self.retry_after())

    def retry_after(self) -> float:
        """Seconds until a slot is likely to be free, by the mean of recent jobs and the queue."""
        ahead = (len(self._waiting) + 1) / self.capacity
        return min(RETRY_AT_MOST, max(1.0, self._seconds * ahead))

    def _give_back(self, seconds: float) -> None:
        self._seconds += 0.2 * (seconds - self._seconds)
        if self._waiting:  # from hand to hand: nobody who comes later can be in between
            self._waiting.popleft().set_result(Slot(self))
            return
        self._taken -= 1
        self._on_change(self._taken)
