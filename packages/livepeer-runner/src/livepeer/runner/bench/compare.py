"""Two reports beside each other: what changed, and what their samples cannot tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from livepeer.runner.bench.figures import Figures
from livepeer.runner.bench.report import BenchReport, LoadReport

LEAST = 0.03
"""Changes below this share are none, whatever their intervals say."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of one load, before and after."""

    load: str
    figure: str
    before: float
    after: float
    verdict: str
    """`better`, `worse`, or `same`: within what the samples can tell."""

    @property
    def share(self) -> float:
        """0.1 is a tenth more."""
        return self.after / self.before - 1 if self.before else 0.0


def compare(before: BenchReport, after: BenchReport) -> list[Difference]:
    """Loads of the same kind, and as many streams, in both. Latencies differ where the intervals of
    their percentiles do not meet; throughput where it does by more than `LEAST` and a closed loop
    made it; pictures a second of the slowest stream where they do by more than `LEAST`."""
    known = {_name(load): load for load in before.loads}
    found: list[Difference] = []
    for load in after.loads:
        if (old := known.get(_name(load))) is None or old.limit or load.limit:
            continue
        found += _latencies(_name(load), old.latency, load.latency)
        if load.loop == "closed" and old.throughput:
            found.append(_rate(_name(load), "calls/s", old.throughput, load.throughput))
    return [*found, *_streams(before, after)]


def _streams(before: BenchReport, after: BenchReport) -> Iterator[Difference]:
    if before.live is None or after.live is None or before.live.picture != after.live.picture:
        return
    known = {step.streams: step for step in before.live.steps}
    for step in after.live.steps:
        if (old := known.get(step.streams)) is None or old.limit or step.limit:
            continue
        name = f"{step.streams} stream{'s' if step.streams != 1 else ''} of {after.live.picture}"
        yield from _latencies(name, old.latency, step.latency)
        if old.fps_out:
            yield _rate(name, "pictures/s", old.fps_out, step.fps_out)


def _latencies(name: str, before: Figures, after: Figures) -> Iterator[Difference]:
    for share, new in after.percentiles.items():
        if (was := before.percentiles.get(share)) is None:
            continue
        apart = new.low_ms > was.high_ms or new.high_ms < was.low_ms
        verdict = "same"
        if apart and abs(new.ms / was.ms - 1) >= LEAST:
            verdict = "worse" if new.ms > was.ms else "better"
        yield Difference(name, share, was.ms, new.ms, verdict)


def _rate(name: str, figure: str, before: float, after: float) -> Difference:
    change = after / before - 1
    verdict = "same" if abs(change) < LEAST else "better" if change > 0 else "worse"
    return Difference(name, figure, before, after, verdict)


def _name(load: LoadReport) -> str:
    if load.loop == "open":
        return f"{load.rate:g} calls a second"
    return f"{load.concurrency} at a time"
