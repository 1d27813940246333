"""The parameters of one stream, from a caller's update to the hook that sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from livepeer.runner.errors import JobError
from livepeer.runner.live.failures import Refusals
from livepeer.runner.live.params import Parameters, Values
from livepeer.runner.live.stream import Stream

Between = Callable[[Callable[[], None], Any], Awaitable[object]]
"""Calls the first, then `on_params_update` with the second, with no other hook in between."""


class ParamUpdates:
    """Holds the newest valid ones; the hooks get them between two frames."""

    def __init__(
        self, parameters: Parameters, first: Values, stream: Stream, refusals: Refusals
    ) -> None:
        self._parameters = parameters
        self._values = first
        self._stream = stream
        self._refusals = refusals
        self._changed = asyncio.Event()
        self._applied = asyncio.Event()
        self._applied.set()
        stream.status.update_params(*parameters.shown(first))

    @property
    def value(self) -> Any:
        return self._values.value

    def update(self, changes: object) -> dict[str, Any]:
        """Merge and validate. Gives all of them, as JSON.

        Raises `InvalidInput`, tells the caller by an event too, and changes nothing then.
        """
        try:
            values = self._parameters.merged(self._values, changes)
        except JobError as error:
            self._refusals.tell("params", error, f"params: {error.message}")
            raise
        self._values = values
        self._applied.clear()
        self._changed.set()
        return self._parameters.dump(values)

    async def applied(self) -> None:
        """Wait until the hooks have the newest ones, `on_params_update` included."""
        await self._applied.wait()

    def over(self) -> None:
        """Nobody waits any more."""
        self._applied.set()

    async def run(self, between: Between) -> None:
        """Bring each change to the hooks, for ever; of several that wait, the newest alone."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            values = self._values
            await between(lambda values=values: self._swap(values), values.value)  # type: ignore[misc]
            if values is self._values:
                self._applied.set()

    def _swap(self, values: Values) -> None:
        self._stream.copy.params = values.value
        self._stream.status.update_params(*self._parameters.shown(values))
