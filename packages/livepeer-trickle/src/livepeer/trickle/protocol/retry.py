"""When to try again: the decision only, nothing here sleeps or reads a clock.

`Backoff` says how long to wait before the next try; the caller does the waiting. Delays grow
by doubling and are spread ("full jitter" above a floor) so that the clients of a server that comes
back do not come back in step.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays of one series of failures, bounded in time.

    `budget` is in seconds and counts from the first failure; `next(now)` gives the seconds to wait,
    or None when the budget is spent. Success is told by `reset()`. A budget of None never ends: it
    paces what is no failure, such as 470.
    """

    budget: float | None
    initial: float = 0.05
    maximum: float = 0.5
    random: Callable[[], float] = field(default=random.random, repr=False)
    attempt: int = 0
    _since: float = 0.0

    def next(self, now: float) -> float | None:
        """Seconds to wait before the next try, None to give up."""
        if self.attempt == 0:
            self._since = now
        self.attempt += 1
        # The exponent is capped: an endless series would overflow a float after a thousand tries.
        ceiling = min(self.maximum, self.initial * 2.0 ** min(self.attempt - 1, 30))
        delay = ceiling * (0.5 + 0.5 * self.random())
        if self.budget is None:
            return delay
        left = self._since + self.budget - now
        # The last try comes at the end of the budget rather than being given up early.
        return min(delay, left) if left > 0 else None

    def reset(self) -> None:
        """Something worked: the next failure starts a new series."""
        self.attempt = 0
