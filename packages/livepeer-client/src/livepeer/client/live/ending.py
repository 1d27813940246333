"""How a live session is over: one reason for all of its parts, and what they raise from then on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from livepeer.client.exceptions import SessionEndedError

logger = logging.getLogger(__name__)


class Ending:
    """Whether, why and how a session is over. The first reason is the reason."""

    def __init__(self, capability: str) -> None:
        self.where: dict[str, Any] = {"capability": capability}
        """Named in the errors; the orchestrator and the stream are added when it is started."""
        self.why: str | None = None
        self.lost = False
        """It was not this side that ended it, nor the pipeline in good order."""
        self._over = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    @property
    def over(self) -> bool:
        return self.why is not None

    async def wait(self) -> str:
        """Until it is over. Why."""
        await self._over.wait()
        return self.why or ""

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` when it is over, at once where it is already."""
        if self.over:
            listener()
        else:
            self._listeners.append(listener)

    def finish(self, why: str, *, lost: bool) -> None:
        if self.over:
            return
        self.why, self.lost = why, lost
        logger.info("live session %s: %s", self.where.get("job_id"), why)
        self._over.set()
        for listener in self._listeners:
            listener()

    def error(self) -> SessionEndedError | None:
        """The error that a loss is, None where the end was a regular one."""
        return self.refusal() if self.lost else None

    def refusal(self) -> SessionEndedError:
        """What is raised for a use of a session that is over."""
        return SessionEndedError(
            f"the live session is over: {self.why}", may_have_run=True, **self.where
        )

    def check(self) -> None:
        if self.over:
            raise self.refusal()
