"""The health of one served pipeline: a state machine as a table, and the slots for its work.

LOADING --loaded--> IDLE <--emptied / filled--> OK        LOADING, IDLE, OK --failed--> ERROR
every state --drain--> DRAINING, which is final.

`/health` knows four words (go-livepeer: worker health check), so DRAINING is reported as OK: busy,
nothing to destroy, and never IDLE in the middle of a job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum

from livepeer.runner.errors import NotReady, OverCapacity
from livepeer.runner.running.slots import Slot, Slots


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
HOPELESS_SECONDS = 30.0
"""How long all slots may be stuck before `/health` says so, for a platform to start anew."""


class IllegalTransition(RuntimeError):
    """An event that the present state does not know: a defect in the runner."""


class Lifecycle:
    """Where the pipeline is between its start and its end; single-threaded, on the event loop."""

    def __init__(
        self,
        capacity: int,
        *,
        queue_size: int = 0,
        lost_threads: Callable[[], int] = lambda: 0,
    ) -> None:
        self._lost_threads = lost_threads
        self.state = State.LOADING
        self._reason: str | None = None
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
        self._reason = reason
        self.detail = detail or reason

    def drain(self) -> None:
        """No new work from here on; what runs may finish. Calling it again changes nothing."""
        if self.state is not State.DRAINING:
            self._on(Event.DRAIN)

    def acquire(self) -> Slot:
        """A slot, or `NotReady` or `OverCapacity` (503: a gateway then tries another)."""
        self._check()
        return self.slots.acquire()

    def try_acquire(self) -> Slot | None:
        """A slot, or None where all are taken. Raises `NotReady`."""
        self._check()
        return self.slots.acquire() if self.slots.free else None

    def queue(self) -> asyncio.Future[Slot]:
        """A place in the queue for a slot: see `Slots.queue`. It fails with `NotReady` as soon as
        no more work is taken."""
        self._check()
        return self.slots.queue()

    def refusal(self) -> NotReady | OverCapacity | None:
        """What a call would be refused with now; None where it gets a slot, or may wait for one."""
        if not self.ready or self._stuck:
            return self._not_ready()
        return None if self.slots.free or self.slots.room else self.slots.full()

    def _check(self) -> None:
        if not self.ready or self._stuck:
            raise self._not_ready()

    def _not_ready(self) -> NotReady:
        if self.ready:
            return NotReady(f"nothing can be taken: {self._stuck}")
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
        if self._hopeless:
            return State.ERROR
        return State.OK if self.state is State.DRAINING else self.state

    @property
    def reason(self) -> str | None:
        """Why it is in ERROR; None where it is not."""
        return f"{self._stuck}: start it anew" if self._hopeless else self._reason

    @property
    def _stuck(self) -> str | None:
        """What keeps this process from doing work that it says it does; None while nothing does."""
        if (threads := self._lost_threads()) >= max(4, 2 * self.slots.capacity):
            return f"{threads} threads are in code that overran its time and cannot be stopped"
        if self.slots.stuck_for():
            return (
                f"all {self.slots.capacity} slots are held by jobs that overran their timeout "
                f"and do not end"
            )
        return None

    @property
    def _hopeless(self) -> bool:
        if not self.ready or self._stuck is None:
            return False
        return self.slots.stuck_for() > HOPELESS_SECONDS or not self.slots.stuck_for()

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
