"""What a caller says to the pipeline itself, from the control channel to `on_control`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from livepeer.runner.errors import InvalidInput, JobError
from livepeer.runner.live.failures import Refusals

WAITING = 64
"""Messages that wait for their turn between the frames; the oldest gives way."""


class NoControlHook(JobError):
    """A message for a class without `on_control`."""

    status = 422
    type = "no_control_hook"


def is_message(record: Mapping[str, Any]) -> bool:
    """Whether it is for `on_control`: `{"type": "control", "message": {...}}` and nothing more.

    Anything else but a keepalive is parameters, because a gateway that has changed the orchestrator
    writes the body of its caller's last update as it is (go-livepeer: BYOC control channel).
    """
    return record.keys() == {"type", "message"} and record["type"] == "control"


class ControlMessages:
    """Brings them to the hook one by one, in order, between two frames."""

    def __init__(self, pipeline: str, *, taken: bool, refusals: Refusals) -> None:
        self._pipeline = pipeline
        self._taken = taken
        self._refusals = refusals
        self._waiting: deque[dict[str, Any]] = deque()
        self._came = asyncio.Event()
        self._handled = asyncio.Event()
        self._handled.set()

    def put(self, message: object) -> None:
        """A message that cannot be taken is told of by an event, as nobody waits for an answer."""
        if not self._taken:
            self._refuse(
                NoControlHook(
                    f"{self._pipeline} takes no control messages: it has no on_control(self, "
                    "message); parameters are changed by an update"
                )
            )
        elif not isinstance(message, dict):
            kind = type(message).__name__
            self._refuse(InvalidInput(f"a control message is a JSON object, not {kind}"))
        else:
            if len(self._waiting) == WAITING:
                self._waiting.popleft()
                self._refuse(InvalidInput(f"over {WAITING} messages wait: the oldest is left out"))
            self._waiting.append(message)
            self._handled.clear()
            self._came.set()

    async def handled(self) -> None:
        """Wait until the hook has had every message."""
        await self._handled.wait()

    def over(self) -> None:
        """Nobody waits any more."""
        self._handled.set()

    async def run(self, call: Callable[[dict[str, Any]], Awaitable[object]]) -> None:
        """Call it with each message, for ever."""
        while True:
            await self._came.wait()
            while self._waiting:
                await call(self._waiting.popleft())
            self._came.clear()
            self._handled.set()

    def _refuse(self, error: JobError) -> None:
        self._refusals.tell("on_control", error, error.message)
