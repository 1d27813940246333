"""When calls are due: the schedule of an open loop, made before the first call."""

from __future__ import annotations

import random
from typing import Literal

Arrivals = Literal["poisson", "even"]
MOST = 2_000_000
"""Calls in one schedule: 16 MB of times."""


def schedule(rate: float, seconds: float, arrivals: Arrivals, seed: int) -> list[float]:
    """The times of all calls, in seconds from the start, `rate` a second on average.

    `poisson`: gaps are exponential, as of callers who do not know of each other; `even`: all gaps
    are the same. The same seed gives the same times. Raises `ValueError` for a rate or duration
    that is not positive, and for more than `MOST` calls.
    """
    if rate <= 0 or seconds <= 0:
        raise ValueError("a rate and a duration are above 0")
    if rate * seconds > MOST:
        raise ValueError(f"{rate:g} calls a second for {seconds:g} s are more than {MOST:,} calls")
    if arrivals == "even":
        return [i / rate for i in range(max(1, round(rate * seconds)))]
    draw = random.Random(seed).expovariate
    times, now = [], draw(rate)
    while now < seconds:
        times.append(now)
        now += draw(rate)
    return times or [0.0]
