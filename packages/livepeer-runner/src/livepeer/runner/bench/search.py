"""The highest rate at which an aim such as `p99<500ms` holds."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from livepeer.runner.bench.figures import SHARES, needed
from livepeer.runner.bench.report import LoadReport, Verdict

FAILED_SHARE: Final = 0.01
"""The share of calls that may fail or be refused where an aim holds."""
NEAR: Final = 1.05
"""How near the rates that hold and that do not come before the search ends."""
STEPS: Final = 20
LEAST: Final = 16
"""The part of the first rate below which no lower one is tried: the target itself is too slow."""
_AIM = re.compile(r"(p\d+(?:\.\d+)?)<(\d+(?:\.\d+)?(?:ms|s))")
_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s)")

Measure = Callable[[float, float], Awaitable[LoadReport]]
"""Loads the target with a rate (calls a second) for some seconds."""


@dataclass(frozen=True, slots=True)
class Aim:
    """A percentile of the latency, and what it has to stay below."""

    percentile: str
    limit_ms: float

    @classmethod
    def of(cls, text: str) -> Aim:
        """Read `p99<500ms`. Raises `ValueError`."""
        match = _AIM.fullmatch(text.replace(" ", ""))
        if match is None or match[1] not in SHARES:
            names = ", ".join(SHARES)
            raise ValueError(f"{text!r} is not an aim like p99<500ms, with one of {names}")
        return cls(match[1], milliseconds(match[2]))

    def __str__(self) -> str:
        return f"{self.percentile}<{self.limit_ms:g}ms"

    def seconds(self, rate: float, duration: float) -> float:
        """How long a rate has to last for the percentile to be told, at least `duration`."""
        return max(duration, 1.2 * needed(SHARES[self.percentile]) / rate)

    def missed(self, load: LoadReport) -> str:
        """Why it does not hold; empty where it does."""
        bad = load.calls - load.outcomes.get("ok", 0)
        if bad > load.calls * FAILED_SHARE:
            worst = max(
                (one for one in load.outcomes if one != "ok"), key=load.outcomes.__getitem__
            )
            return f"{bad} of {load.calls} calls did not succeed ({worst})"
        seen = load.latency.percentiles.get(self.percentile)
        if seen is None:
            return f"{load.latency.count} calls are too few for {self.percentile}"
        if seen.ms >= self.limit_ms:
            return f"{self.percentile} was {seen.ms:.1f} ms"
        return ""


def milliseconds(text: str) -> float:
    """Read `500ms` or `1.5s`. Raises `ValueError`."""
    match = _TIME.fullmatch(text.replace(" ", ""))
    if match is None or not (found := float(match[1]) * (1000 if match[2] == "s" else 1)):
        raise ValueError(f"{text!r} is no time like 500ms or 1.5s")
    return found


async def find_max(
    aim: Aim, measure: Measure, start: float, duration: float, longest: float
) -> Verdict:
    """Double the rate until the aim is missed, then halve the interval until its ends are near.

    `longest`: seconds that one rate may take; a percentile that needs more at the rate that the
    target bears is refused, with what to do. A load in which the generator was the limit ends the
    search: the target bears at least what was seen before.
    """
    held: float | None = None
    missed: float | None = None
    reason, rate = "", start
    for _ in range(STEPS):
        seconds = aim.seconds(rate, duration)
        if seconds > longest:
            reason = (
                f"{aim.percentile} needs {needed(SHARES[aim.percentile])} calls: at {rate:.3g} a "
                f"second that is {seconds:.0f} s. Aim at a lower percentile, or say --longest"
            )
            break
        load = await measure(rate, seconds)
        why = aim.missed(load)
        if load.limit and not why:
            reason = f"{load.limit}: the target bears at least this"
            break
        if why:
            missed, reason = rate, f"at {rate:.3g}/s: {why}"
        else:
            held = rate
        if held is not None and missed is not None:
            if missed / held <= NEAR:
                break
            rate = (held * missed) ** 0.5
        elif held is not None:
            rate *= 2
        elif rate <= start / LEAST:
            break
        else:
            rate /= 2
    return Verdict(
        aim=str(aim),
        rate=None if held is None else round(held, 3),
        failed_at=None if missed is None else round(missed, 3),
        reason=reason,
    )
