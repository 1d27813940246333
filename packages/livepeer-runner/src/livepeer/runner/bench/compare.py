"""Two reports beside each other: what changed, and what their samples cannot tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from livepeer.runner.bench.figures import Figures
from livepeer.runner.bench.live.records import RecordsReport
from livepeer.runner.bench.report import BenchReport

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
    """Loads of the same kind, and as many streams, in both. Latencies, and ages of records, differ
    where the intervals of their percentiles do not meet; throughput where it does by more than
    `LEAST` and a closed loop made it; goodput within the same objective, pictures and records a
    second of the slowest stream, and the share of records that came, where they do by more than
    `LEAST`."""
    known = {load.name: load for load in before.loads}
    found: list[Difference] = []
    for load in after.loads:
        if (old := known.get(load.name)) is None or old.limit or load.limit:
            continue
        found += _latencies(load.name, old.latency, load.latency)
        if load.loop == "closed" and old.throughput:
            found.append(_rate(load.name, "calls/s", old.throughput, load.throughput))
        was, good = old.goodput, load.goodput
        if was and good and was.objective_ms == good.objective_ms and was.per_second:
            found.append(_rate(load.name, "goodput/s", was.per_second, good.per_second))
    return [*found, *_streams(before, after)]


def _streams(before: BenchReport, after: BenchReport) -> Iterator[Difference]:
    if before.live is None or after.live is None or before.live.picture != after.live.picture:
        return
    known = {step.streams: step for step in before.live.steps}
    for step in after.live.steps:
        if (old := known.get(step.streams)) is None or old.limit or step.limit:
            continue
        name = f"{step.name} of {after.live.picture}"
        if not (old.only_records or step.only_records):
            yield from _latencies(name, old.latency, step.latency)
        if old.fps_out:
            yield _rate(name, "pictures/s", old.fps_out, step.fps_out)
        if old.records is not None and step.records is not None:
            yield from _records(name, old.records, step.records)


def _records(name: str, before: RecordsReport, after: RecordsReport) -> Iterator[Difference]:
    yield from _latencies(name, before.age, after.age, "age ")
    if before.per_second:
        yield _rate(name, "records/s", before.per_second, after.per_second)
    if (was := _came(before)) and (now := _came(after)) is not None:
        yield _rate(name, "share of records that came", was, now)


def _came(found: RecordsReport) -> float | None:
    return None if found.lost is None or not found.emitted else 1 - found.lost / found.emitted


def _latencies(name: str, before: Figures, after: Figures, what: str = "") -> Iterator[Difference]:
    for share, new in after.percentiles.items():
        if (was := before.percentiles.get(share)) is None:
            continue
        apart = new.low_ms > was.high_ms or new.high_ms < was.low_ms
        verdict = "same"
        if apart and abs(new.ms / was.ms - 1) >= LEAST:
            verdict = "worse" if new.ms > was.ms else "better"
        yield Difference(name, what + share, was.ms, new.ms, verdict)


def _rate(name: str, figure: str, before: float, after: float) -> Difference:
    change = after / before - 1
    verdict = "same" if abs(change) < LEAST else "better" if change > 0 else "worse"
    return Difference(name, figure, before, after, verdict)
