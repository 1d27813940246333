"""The loads of one target, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from livepeer.runner.bench.arrivals import schedule
from livepeer.runner.bench.load import Run, closed_loop, open_loop
from livepeer.runner.bench.plan import Plan, Told
from livepeer.runner.bench.report import BenchReport, LoadReport, load_report
from livepeer.runner.bench.request import LoadCaller
from livepeer.runner.bench.search import find_max
from livepeer.runner.bench.usage import Meter

SHARES: Final = (0.5, 0.8)
"""Of the throughput of a closed loop: the rates that are tried where none was named."""


class Loads:
    """Makes the loads of a plan with one caller, one after the other."""

    def __init__(
        self,
        document: Mapping[str, Any],
        plan: Plan,
        meter: Meter,
        told: Told,
        caller: LoadCaller,
    ) -> None:
        self._caller = caller
        self._meter = meter
        capacity = document.get("capacity")
        self._capacity = capacity if isinstance(capacity, int) and capacity > 0 else 1
        self._plan, self._told = plan, told
        limit_ms = plan.aim.limit_ms if plan.aim is not None else None
        self._objective_ms = plan.objective_ms or limit_ms

    async def run(self, report: BenchReport) -> None:
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

    def _kept(self, report: BenchReport) -> Callable[[float, float], Any]:
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
                self._caller, times, rate, seen=lambda done: self._told(told, done, len(times))
            )
        )

    async def _closed(self, count: int, seconds: float, told: str) -> LoadReport:
        return await self._watched(
            closed_loop(self._caller, count, seconds, seen=lambda done: self._told(told, done, 0))
        )

    async def _watched(self, running: Coroutine[Any, Any, Run]) -> LoadReport:
        async with self._meter.watching() as watch:
            run = await running
            usage = watch.usage() if watch is not None else None
            return load_report(run, usage, self._objective_ms)
