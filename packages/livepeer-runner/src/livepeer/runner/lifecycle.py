"""The health of one served pipeline: a state machine as a table, and the slots for its work.

LOADING --loaded--> IDLE <--emptied / filled--> OK        LOADING, IDLE, OK --failed--> ERROR
every state --drain--> DRAINING, which is final.

`/health` knows four words (go-livepeer: worker health check), so DRAINING is reported as OK: busy,
nothing to destroy, and never IDLE in the middle of a job.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType

from livepeer.runner.errors import NotReady, OverCapacity


class State(StrEnum):
    LOADING = "LOADING"
    IDLE = "IDLE"
    OK = "OK"
    ERROR = "ERROR"
    DRAINING = "DRAINING"


class Event(StrEnum):
    LOADED = "loaded"
    FILLED = "filled"
    EMPTIED = "emptied"
    FAILED = "failed"
    DRAIN = "drain"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.LOADING, Event.LOADED): State.IDLE,
    (State.LOADING, Event.FAILED): State.ERROR,
    (State.LOADING, Event.DRAIN): State.DRAINING,
    (State.IDLE, Event.FILLED): State.OK,
    (State.IDLE, Event.FAILED): State.ERROR,
    (State.IDLE, Event.DRAIN): State.DRAINING,
    (State.OK, Event.EMPTIED): State.IDLE,
    (State.OK, Event.FAILED): State.ERROR,
    (State.OK, Event.DRAIN): State.DRAINING,
    (State.ERROR, Event.EMPTIED): State.ERROR,
    (State.ERROR, Event.DRAIN): State.DRAINING,
    (State.DRAINING, Event.EMPTIED): State.DRAINING,
    # Setup may end, well or not, after the stop was asked for.
    (State.DRAINING, Event.LOADED): State.DRAINING,
    (State.DRAINING, Event.FAILED): State.DRAINING,
}

RETRY_WHILE_LOADING = 5
RETRY_AT_MOST = 60


class IllegalTransition(RuntimeError):
    """An event that the present state does not know: a defect in the runner."""


class Slot:
    """One place for one job or stream. `release()` gives it back, once, however often called."""

    __slots__ = ("_slots", "_started")

    def __init__(self, slots: Slots) -> None:
        self._slots: Slots | None = slots
        self._started = time.monotonic()

    def release(self) -> None:
        slots, self._slots = self._slots, None
        if slots is not None:
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
    """`capacity` places, and a queue for them: who came first is served first.

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
        """Give a place in the queue back, and the slot that may have come meanwhile."""
        if turn.done():
            if not turn.cancelled() and turn.exception() is None:
                turn.result().release()
        else:
            self._waiting.remove(turn)
            turn.cancel()

    def turn_away(self, error: Exception) -> None:
        """Nobody who waits will get one: there will be no more."""
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


class Lifecycle:
    """Where the pipeline is between its start and its end; single-threaded, on the event loop."""

    def __init__(self, capacity: int, *, queue_size: int = 0) -> None:
        self.state = State.LOADING
        self.reason: str | None = None
        self.detail: str | None = None
        self.slots = Slots(capacity, self._slots_changed, queue_size=queue_size)
        self._ready = asyncio.Event()
        self._settled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def loaded(self) -> None:
        self._on(Event.LOADED)

    def fail(self, reason: str, detail: str | None = None) -> None:
        """The process keeps answering: `reason` goes to `/health`, which anybody may read, `detail`
        to whoever started it here."""
        self._on(Event.FAILED)
        self.reason = reason
        self.detail = detail or reason

    def drain(self) -> None:
        """No new work from here on; what runs may finish. Calling it again changes nothing."""
        if self.state is not State.DRAINING:
            self._on(Event.DRAIN)

    def acquire(self) -> Slot:
        """A slot, or `NotReady` or `OverCapacity` (503: a gateway then tries another)."""
        if not self.ready:
            raise self._not_ready()
        return self.slots.acquire()

    def try_acquire(self) -> Slot | None:
        """A slot, or None where all are taken. Raises `NotReady`."""
        if not self.ready:
            raise self._not_ready()
        return self.slots.acquire() if self.slots.free else None

    def queue(self) -> asyncio.Future[Slot]:
        """A place in the queue for a slot: see `Slots.queue`. It fails with `NotReady` as soon as
        no more work is taken."""
        if not self.ready:
            raise self._not_ready()
        return self.slots.queue()

    def refusal(self) -> NotReady | OverCapacity | None:
        """What a call would be refused with now; None where it gets a slot, or may wait for one."""
        if not self.ready:
            return self._not_ready()
        return None if self.slots.free or self.slots.room else self.slots.full()

    def _not_ready(self) -> NotReady:
        if self.state is State.LOADING:
            return NotReady("the pipeline is loading", retry_after=RETRY_WHILE_LOADING)
        if self.state is State.ERROR:
            return NotReady("the pipeline failed to load; /health has the reason")
        return NotReady("the pipeline is shutting down")

    @property
    def ready(self) -> bool:
        return self.state is State.IDLE or self.state is State.OK

    @property
    def draining(self) -> bool:
        return self.state is State.DRAINING

    @property
    def idle(self) -> bool:
        return self.state is State.IDLE

    @property
    def health(self) -> str:
        """LOADING, OK, IDLE or ERROR: the words that go-livepeer knows."""
        return State.OK if self.state is State.DRAINING else self.state

    async def wait_ready(self) -> None:
        await self._ready.wait()

    async def wait_settled(self) -> None:
        """Until setup is over, one way or the other."""
        await self._settled.wait()

    async def wait_empty(self) -> None:
        """Until no slot is taken."""
        await self._empty.wait()

    def _slots_changed(self, taken: int) -> None:
        if taken:
            self._empty.clear()
            if self.state is State.IDLE:
                self._on(Event.FILLED)
        else:
            self._empty.set()
            self._on(Event.EMPTIED)

    def _on(self, event: Event) -> None:
        target = TRANSITIONS.get((self.state, event))
        if target is None:
            raise IllegalTransition(f"{event} in state {self.state}")
        self.state = target
        if self.ready:
            self._ready.set()
        else:
            self.slots.turn_away(self._not_ready())
        if target is not State.LOADING:
            self._settled.set()
