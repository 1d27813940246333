"""When a call that nobody took is made again: the one place that knows how often and how long.

Only where the answer says that nothing ran: no free place, or not ready yet. Whatever may have run,
or was paid for, is never made again.
"""

from __future__ import annotations

import random
import time
from typing import Final

from livepeer.client.exceptions import (
    ConfigurationError,
    LivepeerError,
    NoCapacityError,
    is_passing,
    reword,
)
from livepeer.client.http.deadline import Deadline

MAX_RETRIES: Final = 5
UNKNOWN_RETRIES: Final = 2
"""go-livepeer says "no room" of a name that nobody has registered too, and a typing error should
not wait as long as a busy pipeline."""
FIRST: Final = 0.25
"""Seconds: the first pause, which doubles, and the longest."""
LONGEST: Final = 8.0


def retries(value: object) -> int:
    """A number of retries as it was given. Raises `ConfigurationError` for what is none."""
    if type(value) is not int or value < 0:
        raise ConfigurationError(f"max_retries has to be 0 or a number above it, not {value!r}")
    return value


class Retries:
    """The pauses of one call."""

    def __init__(self, at_most: int, deadline: Deadline) -> None:
        self._at_most, self._deadline = at_most, deadline
        self.done = 0
        """Tries made after the first one."""
        self._begun = time.monotonic()

    def pause(self, error: LivepeerError, *, known: bool) -> float | None:
        """Seconds to wait before the next try, or None where there is none.

        `known`: somebody has had room for this capability, so that it is full and no slip.
        """
        if not is_passing(error) or error.may_have_run:
            return None
        if self.done >= (self._at_most if known else min(self._at_most, UNKNOWN_RETRIES)):
            return None
        # Whoever was refused together must not come back together.
        pause: float = min(LONGEST, FIRST * 2**self.done) * random.uniform(0.5, 1.0)
        if isinstance(error, NoCapacityError) and error.retry_after is not None:
            pause += error.retry_after
        if pause >= self._deadline.remaining():
            return None
        self.done += 1
        return pause

    def end(self) -> None:
        """Try no more: something was paid for."""
        self._at_most = 0

    def told(self, error: LivepeerError) -> LivepeerError:
        """`error`, whose message says how often and how long this was tried, if it was."""
        if self.done:
            passed = time.monotonic() - self._begun
            reword(error, f"{error.message}; tried {self.done + 1} times in {passed:.1f} s")
        return error
