"""Work that several callers may wait for, and that goes on although those who wait have left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

from livepeer.client.http.deadline import Deadline

T = TypeVar("T")


class InFlight:
    """Owns it, on one event loop: one task for each key. Each bounds itself in time."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    async def join(
        self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], deadline: Deadline
    ) -> T | None:
        """The result of the work that runs under `key`, begun here if none does; None where it is
        not there in time. Raises what the work raised."""
        task: asyncio.Task[T] | None = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(work())
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        # A wait, since whoever is cancelled here must not end it for the others.
        await asyncio.wait([task], timeout=deadline.remaining())
        return task.result() if task.done() and not task.cancelled() else None

    async def aclose(self) -> None:
        """End all of it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
