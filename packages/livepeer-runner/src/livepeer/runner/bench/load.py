"""Calls made by a schedule (open loop) or one after the other (closed loop)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from livepeer.runner.bench.figures import percentile
from livepeer.runner.bench.request import OK, REFUSED, Call

MOST_IN_FLIGHT: Final = 4096
LATE: Final = 0.005
"""Seconds behind its schedule from which the generator spreads what it sends late, instead of
sending it in one burst; and the p99 of lateness from which a figure is not the target's."""
BUSY: Final = 0.8
"""The share of a core from which the generator is taken for the limit."""

Make = Callable[[float], Awaitable[Call]]
Seen = Callable[[int], None]


@dataclass(slots=True)
class Run:
    """The calls of one load, and what limited them."""

    calls: list[Call]
    seconds: float
    """From the first moment to the last answer."""
    generator_cpu: float
    """The share of a core that this process took."""
    rate: float | None = None
    """Calls a second that were asked for; None in a closed loop."""
    concurrency: int | None = None
    """Calls at a time in a closed loop; None in an open one."""
    most_in_flight: int = 0

    @property
    def good(self) -> list[Call]:
        return [call for call in self.calls if call.outcome == OK]

    @property
    def outcomes(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for call in self.calls:
            counts[call.outcome] = counts.get(call.outcome, 0) + 1
        return counts

    @property
    def failed(self) -> int:
        """Calls that neither succeeded nor were refused because the target was full."""
        return sum(call.outcome not in (OK, REFUSED) for call in self.calls)

    @property
    def lateness(self) -> list[float]:
        """How late each call was sent, in seconds, sorted."""
        return sorted(max(0.0, call.sent - call.due) for call in self.calls)

    @property
    def limit(self) -> str:
        """Why the figures are the generator's own, not the target's; empty where they are not."""
        late = percentile(self.lateness, 0.99).ms if self.calls else 0.0
        if self.most_in_flight >= MOST_IN_FLIGHT:
            return (
                f"{MOST_IN_FLIGHT} calls were waiting at once, and no more are opened: "
                "the target answers far too slowly for this rate"
            )
        if late > LATE * 1000:
            return f"the generator was the limit: 1 call in 100 was sent {late:.0f} ms late or more"
        if self.generator_cpu > BUSY:
            return (
                f"the generator was the limit: it took {self.generator_cpu * 100:.0f} % of a core"
            )
        return ""


@dataclass(slots=True)
class _PendingCalls:
    """The calls that wait for their answer: this owns their tasks."""

    make: Make
    seen: Seen
    calls: list[Call] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    most: int = 0
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_IN_FLIGHT))

    def begin(self, due: float) -> None:
        """A call, which has room."""
        task = asyncio.create_task(self._one(due))
        self.tasks.add(task)
        task.add_done_callback(self._done)
        self.most = max(self.most, len(self.tasks))

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self.room.release()

    async def _one(self, due: float) -> None:
        self.calls.append(await self.make(due))
        self.seen(len(self.calls))

    async def finish(self) -> None:
        """All of them; each bounds itself in time. What one raised is raised."""
        if self.tasks:
            await asyncio.gather(*self.tasks)

    async def aclose(self) -> None:
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)


async def open_loop(
    make: Make,
    times: Sequence[float],
    rate: float,
    *,
    seen: Seen = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Run:
    """Make a call at each of the `times`, whether earlier ones have been answered or not.

    A call that could not be sent in time is sent late, and counts from when it was due.
    """
    flight = _PendingCalls(make, seen)
    began, cpu, sent = clock(), time.process_time(), 0.0
    try:
        for at in times:
            due = began + at
            if clock() - due > LATE:
                await _until(sent + 0.5 / rate, clock)
            else:
                await _until(due, clock)
            await flight.room.acquire()
            sent = clock()
            flight.begin(due)
        await flight.finish()
    finally:
        await flight.aclose()
    seconds = clock() - began
    return Run(
        calls=flight.calls,
        seconds=seconds,
        generator_cpu=(time.process_time() - cpu) / seconds,
        rate=rate,
        most_in_flight=flight.most,
    )


async def closed_loop(
    make: Make,
    concurrency: int,
    duration: float,
    *,
    seen: Seen = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Run:
    """`concurrency` callers, each of whom calls again once it was answered, for `duration` seconds.

    A target that stalls is called less often, so the stall hides itself: what this measures is
    throughput, not what callers who come by themselves would wait.
    """
    calls: list[Call] = []
    began, cpu = clock(), time.process_time()

    async def caller() -> None:
        while clock() - began < duration:
            calls.append(await make(clock()))
            seen(len(calls))
            if calls[-1].outcome != OK:
                await asyncio.sleep(PAUSE)  # refusals are quick: no flood of them

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(caller())
    seconds = clock() - began
    return Run(
        calls=calls,
        seconds=seconds,
        generator_cpu=(time.process_time() - cpu) / seconds,
        concurrency=concurrency,
        most_in_flight=concurrency,
    )


PAUSE: Final = 0.01
"""Seconds that a caller of a closed loop waits after a call that did not succeed."""


async def _until(moment: float, clock: Callable[[], float]) -> None:
    """Until then, or for one turn of the loop: answers are read while it is behind, too."""
    await asyncio.sleep(max(0.0, moment - clock()))
