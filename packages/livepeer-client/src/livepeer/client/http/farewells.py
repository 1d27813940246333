"""What has to be said although whoever wanted to say it has left: that a stream is to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final

LAST_CALL: Final = 3.0
"""How long the end of an event loop, or of a gateway, waits for them, in seconds."""

Farewell = Callable[[], Coroutine[Any, Any, None]]


class Farewells:
    """Owns them, on one event loop. Each bounds itself and raises nothing."""

    def __init__(self) -> None:
        self._said: dict[asyncio.Task[None], Farewell] = {}
        self._due: dict[Hashable, Farewell] = {}

    def owe(self, key: Hashable, work: Farewell) -> None:
        """What is to be said when `key` is over, which is at the end of the loop at the latest."""
        self._due[key] = work

    def pay(self, key: Hashable) -> asyncio.Task[None] | None:
        """Say what is owed to `key`, unless that has been done."""
        work = self._due.pop(key, None)
        return self.say(work) if work is not None else None

    def forget(self, key: Hashable) -> None:
        """Nothing is owed to `key` any more."""
        self._due.pop(key, None)

    def say(self, work: Farewell) -> asyncio.Task[None]:
        """Begin it now. Whoever waits for it does so in a shield: it goes on without them."""
        task = asyncio.ensure_future(work())
        self._said[task] = work
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        # What was cancelled, as `asyncio.run` does to every task at its end, is still to be said.
        if not task.cancelled():
            self._said.pop(task, None)

    async def aclose(self) -> None:
        """Let them be said: `LAST_CALL` seconds for all together. Whoever is cancelled here leaves
        after that; at once if it happens again."""
        for key in list(self._due):
            self.pay(key)
        said, self._said = self._said, {}
        if not said:
            return
        tasks = [asyncio.ensure_future(said[t]()) if t.cancelled() else t for t in said]
        saying = asyncio.ensure_future(asyncio.wait(tasks, timeout=LAST_CALL))
        try:
            await asyncio.shield(saying)
        except asyncio.CancelledError:
            await saying
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
