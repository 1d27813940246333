"""What a bench found: one document, for people and for machines (`specs/schemas/bench.json`)."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from livepeer.runner.bench.figures import Figures, Slice, curve, figures, over_time
from livepeer.runner.bench.live.report import LiveReport
from livepeer.runner.bench.load import Run
from livepeer.runner.bench.request import OK, REFUSED
from livepeer.runner.bench.usage import Usage


class Host(BaseModel):
    """The machine on which it was measured. Figures of two machines are not compared."""

    cpu: str
    cores: int
    memory_mb: int
    system: str
    python: str
    load: float | None = None
    """The load average of the last minute before the first call: what else ran."""


class Events(BaseModel):
    """How an answer that streams came."""

    first: Figures
    """From sending to the first event."""
    between: Figures
    """From one event to the next."""
    per_second: float


class Goodput(BaseModel):
    """What callers could use: calls that succeeded within an objective."""

    objective_ms: float
    """What the latency has to stay below."""
    per_second: float
    share: float
    """Of all calls, 0 to 1."""


class LoadReport(BaseModel):
    """One load of calls. Times are of the calls that succeeded."""

    loop: Literal["open", "closed"]
    rate: float | None = None
    """Calls a second, as asked for."""
    concurrency: int | None = None
    calls: int
    seconds: float
    throughput: float
    """Calls that succeeded, a second."""
    goodput: Goodput | None = None
    """None where no objective was named."""
    outcomes: dict[str, int]
    """Calls by what became of them: `ok`, `refused` (the target was full), else what failed."""
    latency: Figures
    """From when a call was due. In a closed loop: from when it was sent."""
    service: Figures
    """From when a call was sent."""
    events: Events | None = None
    generator_late_ms: float
    """The p99 of how late calls were sent."""
    generator_cpu: float
    limit: str = ""
    """Why the figures are not the target's; empty where they are."""
    usage: Usage | None = None
    curve: list[tuple[float, float]] = []
    """The latency's distribution: shares of the calls, and milliseconds."""
    over_time: list[Slice] = []
    """The latency by when a call was due."""

    @property
    def name(self) -> str:
        """For people: `20/s`, or `4 at a time`."""
        return f"{self.rate:.4g}/s" if self.loop == "open" else f"{self.concurrency} at a time"


class Verdict(BaseModel):
    """The highest rate at which an aim holds."""

    aim: str
    rate: float | None
    """Calls a second; None where not even the lowest rate that was tried holds."""
    failed_at: float | None = None
    """The lowest rate that was tried at which it does not hold."""
    reason: str = ""


class ColdStart(BaseModel):
    """Seconds from the start of the process to each point."""

    ready: float
    """Its setup is over (`/ready`)."""
    first_result: float
    """Of a call made at once when it is ready; of a live pipeline its first picture."""
    answers: float | None = None
    """Its server answers (`/health`), while its setup may go on."""
    pull: float | None = None
    """Of an image: seconds that fetching it took, before; None where it was here."""
    create: float | None = None
    """Of an image: seconds that making the container took, before the start."""


class BenchReport(BaseModel):
    """All of it."""

    model_config = ConfigDict(title="Report")

    version: Literal[1] = 1
    target: str
    pipeline: str
    pipeline_version: str
    digest: str = ""
    """Of the image, `sha256:...`, where it is one that tells."""
    kind: Literal["request", "stream", "live"]
    host: Host
    at: str
    """When, in UTC (ISO 8601)."""
    cold: ColdStart | None = None
    loads: list[LoadReport] = []
    max: Verdict | None = None
    live: LiveReport | None = None
    """Of a live pipeline: its streams."""
    paste: str = ""
    """One line for an operator."""

    @property
    def failed(self) -> int:
        """Calls that neither succeeded nor were refused because the target was full, and streams
        that were refused or ended before their time."""
        streams = [one for step in self.live.steps for one in step.each] if self.live else []
        return sum(
            count
            for load in self.loads
            for outcome, count in load.outcomes.items()
            if outcome not in (OK, REFUSED)
        ) + sum(bool(one.ended) for one in streams)


def load_report(run: Run, usage: Usage | None, objective_ms: float | None = None) -> LoadReport:
    """The report of one load, from its calls."""
    good = run.good
    streamed = [call for call in good if call.first_event is not None]
    gaps = [gap for call in streamed for gap in call.gaps]
    count = sum(call.events for call in streamed)
    lateness = run.lateness
    began = min((call.due for call in run.calls), default=0.0)
    return LoadReport(
        loop="closed" if run.rate is None else "open",
        rate=run.rate,
        concurrency=run.concurrency,
        calls=len(run.calls),
        seconds=round(run.seconds, 3),
        throughput=round(len(good) / run.seconds, 3),
        goodput=None if objective_ms is None else _goodput(run, objective_ms),
        outcomes=run.outcomes,
        latency=figures([call.latency for call in good]),
        service=figures([call.service for call in good]),
        events=Events(
            first=figures([call.first_event or 0.0 for call in streamed]),
            between=figures(gaps),
            per_second=round(count / run.seconds, 3),
        )
        if streamed
        else None,
        generator_late_ms=round(lateness[int(len(lateness) * 0.99)] * 1000, 3) if lateness else 0,
        generator_cpu=round(run.generator_cpu, 3),
        limit=run.limit,
        usage=usage,
        curve=curve([call.latency for call in good]),
        over_time=over_time([(call.due - began, call.latency) for call in good], run.seconds),
    )


def _goodput(run: Run, objective_ms: float) -> Goodput:
    within = sum(call.latency * 1000 < objective_ms for call in run.good)
    return Goodput(
        objective_ms=objective_ms,
        per_second=round(within / run.seconds, 3),
        share=round(within / len(run.calls), 4) if run.calls else 0.0,
    )


def host() -> Host:
    """Describe this machine."""
    cpu = platform.processor() or platform.machine()
    memory = 0
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
        total = Path("/proc/meminfo").read_text(encoding="utf-8").split(maxsplit=2)[1]
        memory = int(total) // 1024
    except (OSError, ValueError, IndexError):  # not Linux
        pass
    return Host(
        cpu=cpu,
        cores=_cores(),
        memory_mb=memory,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    import json

    print(json.dumps(BenchReport.model_json_schema(), indent=2))
