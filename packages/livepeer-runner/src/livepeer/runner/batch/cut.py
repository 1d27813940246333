"""The end of what still waits when the time to drain is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from types import TracebackType

from livepeer.runner.errors import Interrupted, JobError, NotReady
from livepeer.runner.running.execution import Execution


class Cuts:
    """Every place that a stop may end, and whether it has come. Single-threaded."""

    def __init__(self) -> None:
        self.made = False
        self.places: set[asyncio.Timeout] = set()

    def make(self) -> None:
        """End every place that is open, and each one that is opened later."""
        self.made = True
        for place in self.places:
            place.reschedule(0)

    def place(self, error: Callable[[], JobError]) -> CutBlock:
        """`async with cuts.place(error):` raises `error()` inside once the cut is made."""
        return CutBlock(self, error)


class CutBlock:
    """A block that the cut ends with an error of its own.

    A cancellation that comes from anywhere else passes through, as it does through `timeout`.
    """

    __slots__ = ("_cuts", "_error", "_scope")

    def __init__(self, cuts: Cuts, error: Callable[[], JobError]) -> None:
        self._cuts = cuts
        self._error = error

    async def __aenter__(self) -> CutBlock:
        if self._cuts.made:
            raise self._error()
        self._scope = asyncio.timeout(None)
        await self._scope.__aenter__()
        self._cuts.places.add(self._scope)
        return self

    def begins(self, execution: Execution) -> None:
        """From here on the cut ends this execution, and its error says whether it had begun."""
        self._error = partial(cut_off, execution)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cuts.places.discard(self._scope)
        try:
            await self._scope.__aexit__(exc_type, exc, traceback)
        except TimeoutError:
            raise self._error() from None


def stopping() -> NotReady:
    return NotReady("the pipeline is shutting down")


def cut_off(execution: Execution) -> JobError:
    """What the caller of a job that was stopped is told: whether any of it has been done."""
    if not execution.begun:
        return stopping()
    return Interrupted(
        "the pipeline was stopped while the job ran: it had begun and did not finish, "
        "so a part of its work may be done"
    )
