"""Numbers that their samples can carry: percentiles with an interval, or a refusal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel

ABOVE = 5
"""Samples that have to lie beyond a percentile for it to be told: 10 in all for p50, 100 for p95,
500 for p99, 5,000 for p99.9."""
SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
SLICES = 60
POINTS_OF_TEN = 16
"""Points of a curve from one share to that beyond which a tenth as many samples are."""
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


class Slice(BaseModel):
    """What came within a part of a load."""

    at: float
    """Seconds from its first moment to the middle of the part."""
    count: int
    mean_ms: float
    max_ms: float


def needed(share: float) -> int:
    """How many samples a percentile needs."""
    return math.ceil(round(ABOVE / (1 - share), 6))


def figures(seconds: Sequence[float]) -> Figures:
    """The distribution of samples, which are in seconds."""
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


def curve(seconds: Sequence[float]) -> list[tuple[float, float]]:
    """The distribution as shares, up to the highest that so many samples can carry, and what they
    do not exceed in milliseconds; for a plot."""
    ordered = sorted(seconds)
    count = len(ordered)
    shares = [1 - 10 ** (-step / POINTS_OF_TEN) for step in range(4 * POINTS_OF_TEN)]
    return [
        (round(share, 5), _ms(ordered[min(count - 1, int(count * share))]))
        for share in shares
        if count and (1 - share) * count >= ABOVE
    ]


def over_time(samples: Sequence[tuple[float, float]], seconds: float) -> list[Slice]:
    """Samples as (moment from the first one on, seconds that it took), in up to `SLICES` parts of
    a load that went on for `seconds`; for a plot."""
    if not samples or seconds <= 0:
        return []
    parts: dict[int, list[float]] = {}
    for at, took in samples:
        place = min(SLICES - 1, max(0, int(at / seconds * SLICES)))
        parts.setdefault(place, []).append(took)
    return [
        Slice(
            at=round((place + 0.5) * seconds / SLICES, 3),
            count=len(took),
            mean_ms=_ms(math.fsum(took) / len(took)),
            max_ms=_ms(max(took)),
        )
        for place, took in sorted(parts.items())
    ]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
