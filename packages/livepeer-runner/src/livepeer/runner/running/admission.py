"""Waiting for a slot: in the order of arrival, for a bounded time, until the caller leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from livepeer.runner.http.asgi import CallerLeft
from livepeer.runner.metrics import Metrics
from livepeer.runner.running.lifecycle import Lifecycle
from livepeer.runner.running.slots import Slot

Left = Callable[[], Coroutine[Any, Any, None]]


class Admission:
    """Gives out the slots of one service."""

    def __init__(self, lifecycle: Lifecycle, metrics: Metrics, *, seconds: float) -> None:
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._seconds = seconds

    async def slot(self, left: Left) -> Slot:
        """A slot, at once or in its turn; `left()` returns when the caller has gone.

        Raises `OverCapacity`, `NotReady` (also while it waits), `CallerLeft`.
        """
        if (slot := self._lifecycle.try_acquire()) is not None:
            return slot
        return await self._wait(self._lifecycle.queue(), left)

    async def _wait(self, turn: asyncio.Future[Slot], left: Left) -> Slot:
        loop = asyncio.get_running_loop()
        started = loop.time()
        leaving = loop.create_task(left())
        try:
            await asyncio.wait(
                (turn, leaving), timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if leaving.done():
                raise CallerLeft
            if not turn.done():
                raise self._lifecycle.slots.full()
            return turn.result()
        except BaseException:
            self._lifecycle.slots.leave(turn)
            raise
        finally:
            leaving.cancel()
            self._metrics.wait_seconds.observe(loop.time() - started)
