"""Which hook of a stream runs now, and for how long: for whoever asks why nothing comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

SLOW_SECONDS = 1.0
"""A hook that runs for less is nothing to tell of."""


@dataclass(slots=True, eq=False)
class Running:
    """One call of a hook that is not over."""

    name: str
    asked: float = field(default_factory=time.monotonic)
    waits: bool = False
    """It waits for a thread, which other streams' hooks have."""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.asked


class RunningHooks:
    """Those of one stream: one, and a batch beside it at most."""

    def __init__(self) -> None:
        self._all: list[Running] = []
        self._warned: Running | None = None

    @contextmanager
    def call(self, name: str) -> Iterator[Running]:
        running = Running(name)
        self._all.append(running)
        try:
            yield running
        finally:
            self._all.remove(running)

    @property
    def slow(self) -> Running | None:
        """The one that runs longest, where that is long."""
        oldest = min(self._all, key=lambda one: one.asked, default=None)
        return oldest if oldest is not None and oldest.seconds >= SLOW_SECONDS else None

    def news(self) -> Running | None:
        """`slow`, the first time that it is seen."""
        slow = self.slow
        if slow is None or slow is self._warned:
            return None
        self._warned = slow
        return slow

    def shown(self) -> dict[str, Any] | None:
        """`slow` for a status event; `since` in seconds since 1970."""
        if (slow := self.slow) is None:
            return None
        return {
            "name": slow.name,
            "since": time.time() - slow.seconds,
            "seconds": round(slow.seconds, 1),
            "waits_for_thread": slow.waits,
        }
