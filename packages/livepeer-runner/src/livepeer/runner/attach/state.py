"""How a registration stands at one orchestrator, and how answers change it. No I/O here."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
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

    def as_dict(self) -> dict[str, Any]:
        """For `/health`: `since` as seconds since the epoch, `reason` only where there is one."""
        found: dict[str, Any] = {
            "orchestrator": self.url,
            "status": self.status,
            "since": round(self.since, 3),
        }
        if self.reason is not None:
            found |= {"reason": self.reason, "attempts": self.attempts}
        return found

    def becomes(self, status: Status, reason: str | None = None) -> OrchestratorState:
        failed = status in ("retrying", "refused")
        same = status == self.status
        return OrchestratorState(
            self.url,
            status,
            reason,
            self.attempts + 1 if failed else 0,
            self.since if same else time.time(),
        )

    def delay(self, timing: Timing) -> float:
        """Seconds until the next attempt: doubling, spread so that a fleet does not march."""
        grown = timing.retry_first * 2.0 ** min(self.attempts - 1, 16)
        return min(grown, timing.retry_most) * random.uniform(0.75, 1.25)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an orchestrator answered, as far as it matters."""

    status: int
    text: str = ""
    location: str | None = None

    def registration_failure(self) -> tuple[str, bool] | None:
        """Why a registration was not taken, and whether that is final. None: it was taken."""
        said = f"{self.status} {' '.join(self.text.split())[:200]}".strip()
        match self.status:
            case 200:
                return None
            case 400 if "authorization" in self.text.lower():
                return f"the secret is wrong ({said}): set LIVEPEER_ORCH_SECRET", True
            case 400 if "HTTPS server" in self.text:
                return "it speaks https: write https:// in LIVEPEER_ORCH_URL", True
            case 400:
                return f"the orchestrator refused the registration: {said}", True
            case 404 | 405:
                return (
                    f"no orchestrator with BYOC is at this address ({said}): "
                    f"set LIVEPEER_ORCH_URL to its service address"
                ), True
            case status if 300 <= status < 400:
                # The secret goes to nobody but the address that the operator wrote.
                target = self.location or "another address"
                return f"it redirects to {target}: set LIVEPEER_ORCH_URL to that", True
            case 408 | 425 | 429:
                return f"the orchestrator answered {said}", False
            case status if 400 <= status < 500:
                return f"the orchestrator refused the registration: {said}", True
            case _:
                return f"the orchestrator answered {said}", False

    def available_capacity(self) -> int | None:
        """Free places according to `GET /process/token`, 0 where the field is absent (none free,
        or not registered: go-livepeer does not tell apart). None: the answer says nothing."""
        if self.status != 200:
            return None
        try:
            token = json.loads(self.text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(token, dict):
            return None
        value = token.get("available_capacity", 0)
        return value if isinstance(value, int) else None
