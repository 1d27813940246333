"""What is measured, as it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from livepeer.runner.bench.arrivals import Arrivals
from livepeer.runner.bench.live.measure import LivePlan
from livepeer.runner.bench.search import Aim


class BenchError(Exception):
    """Nothing could be measured; the message says why and what to do."""

    code = "bench"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured. Without rates, callers or an aim: a closed loop with as many callers as the
    target has places, then open loops at half and at four fifths of what that gave.

    - `rates`: calls a second of open loops.
    - `concurrency`: callers of closed loops.
    - `aim`: search the highest rate at which it holds.
    - `objective_ms`: milliseconds of latency below which a call counts for the goodput; by default
      those of `aim`.
    - `duration`: seconds of each load.
    - `warmup`: seconds before, which count for nothing.
    - `arrivals`: how the calls of an open loop are spread.
    - `seed`: of Poisson's gaps.
    - `timeout`: seconds for one call.
    - `longest`: seconds that one rate of a search may take.
    - `live`: what of a live pipeline is measured.
    - `streams`: whether it is taken for a live one where it does not say what it is.
    """

    rates: Sequence[float] = ()
    concurrency: Sequence[int] = ()
    aim: Aim | None = None
    objective_ms: float | None = None
    duration: float = 10.0
    warmup: float = 2.0
    arrivals: Arrivals = "poisson"
    seed: int = 1
    timeout: float = 60.0
    longest: float = 60.0
    live: LivePlan = field(default_factory=LivePlan)
    streams: bool = False


Told = Callable[[str, float, float], None]
"""What is measured now, the calls that were made of it, and how many there will be (0: unknown)."""
