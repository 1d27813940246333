"""Numbers that their samples can carry: percentiles with an interval, or a refusal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel

ABOVE = 5
"""Samples that have to lie beyond a percentile for it to be told: 10 in all for p50, 100 for p95,
500 for p99, 5,000 for p99.9."""
SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
_WIDTH = 1.96
"""Standard deviations on each side of an interval that holds the truth 95 times of 100."""


class Percentile(BaseModel):
    """A percentile, and the interval that holds the true one 95 times of 100, in milliseconds.

    The interval is that of independent samples (binomial, by ranks): calls that wait in one queue
    are not quite that, so it tells the least of the doubt.
    """

    ms: float
    low_ms: float
    high_ms: float


class Figures(BaseModel):
    """The distribution of a time, in milliseconds."""

    count: int
    mean_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    percentiles: dict[str, Percentile] = {}
    """By name: p50, p90, p95, p99, p99.9; those that `count` samples can carry."""


def needed(share: float) -> int:
    """How many samples a percentile needs."""
    return math.ceil(round(ABOVE / (1 - share), 6))


def figures(seconds: Sequence[float]) -> Figures:
    """Of samples in seconds."""
    ordered = sorted(seconds)
    count = len(ordered)
    if not count:
        return Figures(count=0)
    return Figures(
        count=count,
        mean_ms=_ms(math.fsum(ordered) / count),
        min_ms=_ms(ordered[0]),
        max_ms=_ms(ordered[-1]),
        percentiles={
            name: percentile(ordered, share)
            for name, share in SHARES.items()
            if count >= needed(share)
        },
    )


def percentile(ordered: Sequence[float], share: float) -> Percentile:
    """Of sorted samples in seconds: the smallest that `share` of them do not exceed."""
    count = len(ordered)
    spread = _WIDTH * math.sqrt(count * share * (1 - share))

    def at(rank: float) -> float:
        return _ms(ordered[min(count - 1, max(0, math.ceil(rank) - 1))])

    return Percentile(
        ms=at(count * share),
        low_ms=at(count * share - spread),
        high_ms=at(count * share + spread + 1),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
