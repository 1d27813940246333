"""One deadline per call, however many tries it takes."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Final

from livepeer.client.exceptions import ConfigurationError

LONGEST: Final = 1e9
"""Thirty years: no clock and no header has room for more."""


def seconds(value: object) -> float:
    """A limit as it was given. Raises `ConfigurationError` for what is none."""
    if not isinstance(value, int | float) or not 0 < value <= LONGEST:
        raise ConfigurationError(f"timeout has to be a positive number of seconds, not {value!r}")
    return value


class Deadline:
    """A point in time that every step of a call shares. Independent of any event loop."""

    __slots__ = ("_end", "seconds")

    def __init__(self, limit: float) -> None:
        self.seconds = seconds(limit)
        self._end = time.monotonic() + limit

    def remaining(self) -> float:
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.remaining() <= 0

    def timeout(self, at_most: float | None = None) -> asyncio.Timeout:
        """A limit for one step: what is left, or `at_most` seconds where that is less."""
        left = self.remaining()
        return asyncio.timeout(left if at_most is None else min(left, at_most))

    def whole_seconds(self) -> int:
        """What is left, for a `timeout_seconds` header: an integer above 0, never rounded down."""
        return max(1, math.ceil(self.remaining()))
