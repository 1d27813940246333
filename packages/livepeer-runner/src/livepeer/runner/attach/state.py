"""How a registration stands at one orchestrator. No I/O here."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from typing import Any, Literal

Status = Literal["waiting", "registered", "retrying", "refused", "unregistered"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `probe`: between two looks whether an idle orchestrator still knows us; `renew`:
    between two blind renewals where it does not say; `confirm`: before a doubt is acted upon."""

    probe: float = 10.0
    renew: float = 60.0
    confirm: float = 2.0
    request: float = 10.0
    unregister: float = 5.0
    retry_first: float = 0.5
    retry_most: float = 30.0


@dataclass(frozen=True, slots=True)
class OrchestratorState:
    """How a registration stands; `reason` says what is wrong and what to do about it.

    `waiting`: not tried yet, or put off while jobs run. `retrying`: it goes on trying. `refused`:
    it has stopped, since trying again would not help.
    """

    url: str
    status: Status = "waiting"
    reason: str | None = None
    attempts: int = 0
    since: float = 0.0
    registry: str = "byoc"

    def as_dict(self) -> dict[str, Any]:
        """For `/health`: `since` as seconds since the epoch, `reason` only where there is one."""
        found: dict[str, Any] = {
            "orchestrator": self.url,
            "status": self.status,
            "since": round(self.since, 3),
        }
        if self.registry != "byoc":
            found["registry"] = self.registry
        if self.reason is not None:
            found |= {"reason": self.reason, "attempts": self.attempts}
        return found

    def becomes(self, status: Status, reason: str | None = None) -> OrchestratorState:
        failed = status in ("retrying", "refused")
        same = status == self.status
        return replace(
            self,
            status=status,
            reason=reason,
            attempts=self.attempts + 1 if failed else 0,
            since=self.since if same else time.time(),
        )

    def delay(self, timing: Timing) -> float:
        """Seconds until the next attempt: doubling, spread so that a fleet does not march."""
        grown = timing.retry_first * 2.0 ** min(self.attempts - 1, 16)
        return min(grown, timing.retry_most) * random.uniform(0.75, 1.25)
