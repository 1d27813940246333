"""Two reports beside each other: what changed, and what their samples cannot tell apart."""

from __future__ import annotations

from dataclasses import dataclass

from livepeer.runner.bench.report import LoadReport, Report

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


def compare(before: Report, after: Report) -> list[Difference]:
    """Loads of the same kind in both. Latencies differ where the intervals of their percentiles do
    not meet; throughput where it does by more than `LEAST` and a closed loop made it."""
    known = {_name(load): load for load in before.loads}
    found = []
    for load in after.loads:
        if (old := known.get(_name(load))) is None or old.limit or load.limit:
            continue
        for share, new in load.latency.percentiles.items():
            if (was := old.latency.percentiles.get(share)) is None:
                continue
            apart = new.low_ms > was.high_ms or new.high_ms < was.low_ms
            verdict = "same"
            if apart and abs(new.ms / was.ms - 1) >= LEAST:
                verdict = "worse" if new.ms > was.ms else "better"
            found.append(Difference(_name(load), share, was.ms, new.ms, verdict))
        if load.loop == "closed" and old.throughput:
            change = load.throughput / old.throughput - 1
            verdict = "same" if abs(change) < LEAST else "better" if change > 0 else "worse"
            found.append(
                Difference(_name(load), "calls/s", old.throughput, load.throughput, verdict)
            )
    return found


def _name(load: LoadReport) -> str:
    if load.loop == "open":
        return f"{load.rate:g} calls a second"
    return f"{load.concurrency} at a time"
