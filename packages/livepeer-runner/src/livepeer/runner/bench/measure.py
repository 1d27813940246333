"""One bench from its target to its report."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from livepeer.runner.bench.arrivals import Arrivals, schedule
from livepeer.runner.bench.load import Run, closed_loop, open_loop
from livepeer.runner.bench.report import ColdStart, LoadReport, Report, host, load_report
from livepeer.runner.bench.request import OK, Caller
from livepeer.runner.bench.search import Aim, find_max
from livepeer.runner.bench.usage import watching
from livepeer.runner.targets.hosting import OpenTarget, opened
from livepeer.runner.targets.reference import TargetReference

SCHEMA_SECONDS: Final = 10.0
LARGEST_SCHEMA: Final = 4 << 20
SHARES: Final = (0.5, 0.8)
"""Of the throughput of a closed loop: the rates that are tried where none was named."""


class BenchError(Exception):
    """Nothing could be measured; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured. Without rates, callers or an aim: a closed loop with as many callers as the
    target has places, then open loops at half and at four fifths of what that gave.

    Args:
        rates: Calls a second of open loops.
        concurrency: Callers of closed loops.
        aim: Search the highest rate at which it holds.
        duration: Seconds of each load.
        warmup: Seconds before, which count for nothing.
        arrivals: How the calls of an open loop are spread.
        seed: Of Poisson's gaps.
        timeout: Seconds for one call.
        longest: Seconds that one rate of a search may take.
    """

    rates: Sequence[float] = ()
    concurrency: Sequence[int] = ()
    aim: Aim | None = None
    duration: float = 10.0
    warmup: float = 2.0
    arrivals: Arrivals = "poisson"
    seed: int = 1
    timeout: float = 60.0
    longest: float = 60.0


Told = Callable[[str, float, float], None]
"""What is measured now, the calls that were made of it, and how many there will be (0: unknown)."""


async def measure(
    target: TargetReference,
    plan: Plan,
    *,
    inputs: Sequence[Mapping[str, Any]] = (),
    told: Told = lambda what, done, of: None,
) -> Report:
    """Load a target as the plan says. `inputs` are sent in turn; without any, the example of its
    schema.

    Raises `BenchError` and `TargetError`.
    """
    machine, began = host(), time.monotonic()
    told("starting", 0, 0)
    async with opened(target) as there:
        ready = time.monotonic() - began
        document = await _document(there.url)
        bodies = _bodies(document, inputs)
        bench = _Bench(there, document, plan, told)
        async with Caller(f"{there.url}/predict", bodies, timeout=plan.timeout) as caller:
            bench.caller = caller
            first = await caller(caller.clock())
            if first.outcome != OK:
                raise BenchError(
                    f"the first call did not succeed ({first.outcome}): what it was sent may not "
                    f"be its input; say -i NAME=VALUE"
                )
            after = time.monotonic() - began
            report = Report(
                target=target.text,
                pipeline=str(document.get("id") or ""),
                pipeline_version=str(document.get("version") or ""),
                kind="stream" if first.first_event is not None else "request",
                host=machine,
                at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            )
            if there.process is not None:
                report.cold = ColdStart(ready=round(ready, 3), first_result=round(after, 3))
            await bench.run(report)
    report.paste = paste(report)
    return report


class _Bench:
    """The loads of one target, one after the other."""

    caller: Caller

    def __init__(
        self, there: OpenTarget, document: Mapping[str, Any], plan: Plan, told: Told
    ) -> None:
        self._leader = there.process.pid if there.process is not None else None
        capacity = document.get("capacity")
        self._capacity = capacity if isinstance(capacity, int) and capacity > 0 else 1
        self._plan, self._told = plan, told

    async def run(self, report: Report) -> None:
        plan = self._plan
        if plan.warmup > 0:
            await self._closed(1, plan.warmup, "warming up")
        if plan.aim is not None:
            seconds = plan.warmup or 1.0
            start = max(1.0, (await self._closed(1, seconds, "one caller")).throughput / 2)
            report.max = await find_max(
                plan.aim, self._kept(report), start, plan.duration, plan.longest
            )
        for count in plan.concurrency:
            told = f"{count} caller{'s' if count > 1 else ''}"
            report.loads.append(await self._closed(count, plan.duration, told))
        for rate in plan.rates:
            report.loads.append(await self._open(rate, plan.duration))
        if not (plan.aim or plan.concurrency or plan.rates):
            told = f"{self._capacity} at a time"
            full = await self._closed(self._capacity, plan.duration, told)
            report.loads.append(full)
            for share in SHARES:
                if full.throughput > 0:
                    rate = round(full.throughput * share, 2)
                    report.loads.append(await self._open(rate, plan.duration))

    def _kept(self, report: Report) -> Callable[[float, float], Any]:
        async def load(rate: float, seconds: float) -> LoadReport:
            found = await self._open(rate, seconds)
            report.loads.append(found)
            return found

        return load

    async def _open(self, rate: float, seconds: float) -> LoadReport:
        times = schedule(rate, seconds, self._plan.arrivals, self._plan.seed)
        told = f"{rate:g} calls a second"
        return await self._watched(
            open_loop(
                self.caller, times, rate, seen=lambda done: self._told(told, done, len(times))
            )
        )

    async def _closed(self, count: int, seconds: float, told: str) -> LoadReport:
        return await self._watched(
            closed_loop(self.caller, count, seconds, seen=lambda done: self._told(told, done, 0))
        )

    async def _watched(self, running: Any) -> LoadReport:
        async with watching(self._leader) as watch:
            run: Run = await running
            return load_report(run, watch.usage() if watch is not None else None)


async def _document(url: str) -> Mapping[str, Any]:
    """What the target says of itself; nothing where it has no schema."""
    limit = aiohttp.ClientTimeout(total=SCHEMA_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.get(f"{url}/schema", allow_redirects=False) as answer,
        ):
            body = b""
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > LARGEST_SCHEMA:
                    raise BenchError(f"the schema at {url}/schema has no end")
            document = json.loads(body) if answer.status == 200 else {}
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise BenchError(f"{url} does not answer: {str(error) or type(error).__name__}") from error
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    if document.get("type") == "live":
        raise BenchError(
            "a live pipeline is not measured yet: `livepeer predict --realtime -i in.mp4` tells "
            "its rates"
        )
    return document


def _bodies(document: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]]) -> list[bytes]:
    if inputs:
        return [json.dumps(each).encode() for each in inputs]
    example = document.get("example")
    if not isinstance(example, dict):
        raise BenchError("the target tells no example of its input: say -i NAME=VALUE")
    return [json.dumps(example).encode()]


def paste(report: Report) -> str:
    """One line for an operator: what it bears here, and what it takes."""
    name = " ".join(part for part in (report.pipeline, report.pipeline_version) if part)
    parts = []
    if report.max is not None and report.max.rate is not None:
        parts.append(f"{report.max.rate:.3g} calls/s at {report.max.aim}")
    elif report.loads:
        best = max(report.loads, key=lambda load: load.throughput)
        told = f"{best.throughput:.3g} calls/s"
        for share in ("p99", "p95", "p50"):
            if (seen := best.latency.percentiles.get(share)) is not None:
                told += f", {share} {seen.ms:.3g} ms"
                break
        parts.append(told)
    if report.cold is not None:
        parts.append(f"ready after {report.cold.ready:.1f} s")
    if used := [load.usage.memory_mb for load in report.loads if load.usage is not None]:
        parts.append(f"{max(used):.0f} MB")
    machine = f"{report.host.cores}x {report.host.cpu}"
    return f"{name or report.target} on {machine}: {'; '.join(parts)}"


def seconds_of(plan: Plan) -> float:
    """About how long a plan takes, without a search."""
    loads = len(plan.rates) + len(plan.concurrency)
    return plan.warmup + plan.duration * (loads or 1 + len(SHARES))
