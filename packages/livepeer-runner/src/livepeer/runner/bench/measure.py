"""One bench from its target to its report."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from livepeer.runner.bench.arrivals import Arrivals, schedule
from livepeer.runner.bench.live.measure import LivePlan, measure_streams
from livepeer.runner.bench.live.report import Window
from livepeer.runner.bench.load import Run, closed_loop, open_loop
from livepeer.runner.bench.paste import paste
from livepeer.runner.bench.report import ColdStart, LoadReport, Report, host, load_report
from livepeer.runner.bench.request import OK, Caller
from livepeer.runner.bench.search import Aim, find_max
from livepeer.runner.bench.usage import (
    CgroupOf,
    Meter,
    ProcessSource,
    SessionOf,
    gpu_taken,
)
from livepeer.runner.targets.hosting import OpenTarget, opened
from livepeer.runner.targets.reference import TargetReference

SCHEMA_SECONDS: Final = 10.0
LARGEST_SCHEMA: Final = 4 << 20
CAPACITY: Final = "LIVEPEER_CAPACITY"
"""Whoever asks for so many streams wants to know what the machine bears, not what a class takes."""
SHARES: Final = (0.5, 0.8)
"""Of the throughput of a closed loop: the rates that are tried where none was named."""


class BenchError(Exception):
    """Nothing could be measured; the message says why and what to do."""

    code = "bench"


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
        live: What of a live pipeline is measured.
        streams: Whether it is taken for a live one where it does not say what it is.
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
    live: LivePlan = field(default_factory=LivePlan)
    streams: bool = False


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
    taken = await gpu_taken()
    told("starting", 0, 0)
    environ = {}
    if plan.streams and CAPACITY not in os.environ:
        environ[CAPACITY] = str(max(plan.live.streams))
    async with opened(target, environ=environ) as there:
        return await measure_open(there, target.text, plan, inputs, told=told, gpu_before=taken)


async def measure_open(
    there: OpenTarget,
    name: str,
    plan: Plan,
    inputs: Sequence[Mapping[str, Any]] = (),
    *,
    told: Told = lambda what, done, of: None,
    gpu_before: float = 0.0,
) -> Report:
    """A target that runs; see `measure`."""
    meter = Meter(await asyncio.to_thread(_source, there), gpu_before)
    document = await _document(there.url)
    report = Report(
        target=name,
        pipeline=str(document.get("id") or ""),
        pipeline_version=str(document.get("version") or ""),
        digest=await asyncio.to_thread(_digest, there),
        kind="request",
        host=host(),
        at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    if _is_live(document, plan):
        await _streams(there, document, plan, meter, told, report)
    else:
        await _calls(there, document, plan, inputs, meter, told, report)
    report.paste = paste(report)
    return report


async def _streams(
    there: OpenTarget,
    document: Mapping[str, Any],
    plan: Plan,
    meter: Meter,
    told: Told,
    report: Report,
) -> None:
    report.kind = "live"
    window = Window(plan.warmup, plan.live.duration)
    report.live = await measure_streams(there, document, plan.live, window, meter, told=told)
    first = report.live.steps[0].each
    shown = [one.first_ms for one in first if one.first_ms is not None]
    if not shown:
        why = first[0].ended or "nothing came out"
        raise BenchError(f"no stream could be measured: {why}")
    report.cold = _cold(there, min(shown) / 1000)


def _is_live(document: Mapping[str, Any], plan: Plan) -> bool:
    """Raises `BenchError` where the plan is for the other kind."""
    kind = document.get("type")
    live = kind == "live" or (kind is None and plan.streams)
    if live and plan.aim is not None and not plan.streams:
        raise BenchError("a live pipeline is searched by its streams: say --streams 1..8, too")
    if live and (plan.rates or plan.concurrency):
        raise BenchError("a live pipeline has no calls: say --streams 1..8 instead of a rate")
    if plan.streams and not live:
        raise BenchError("this pipeline has no streams: say --rate, --concurrency or --find-max")
    return live


async def _calls(
    there: OpenTarget,
    document: Mapping[str, Any],
    plan: Plan,
    inputs: Sequence[Mapping[str, Any]],
    meter: Meter,
    told: Told,
    report: Report,
) -> None:
    bodies = _bodies(document, inputs)
    async with Caller(f"{there.url}/predict", bodies, timeout=plan.timeout) as caller:
        first = await caller(caller.clock())
        if first.outcome != OK:
            raise BenchError(
                f"the first call did not succeed ({first.outcome}): what it was sent may not "
                f"be its input; say -i NAME=VALUE"
            )
        report.cold = _cold(there, first.service)
        if first.first_event is not None:
            report.kind = "stream"
        await _Bench(document, plan, meter, told, caller).run(report)


def _digest(there: OpenTarget) -> str:
    image = there.image
    return "" if image is None else image.engine.digest(image.name) or ""


def _source(there: OpenTarget) -> ProcessSource | None:
    """Where its processes are counted. In a thread: an engine may be asked."""
    if there.process is None or (pid := there.process.pid) <= 0:
        return None
    group = CgroupOf.of(pid) if there.image is not None else None
    return group or SessionOf(pid)


def _cold(there: OpenTarget, first: float | None) -> ColdStart | None:
    """`first`: seconds from asking for a result of what was ready to having it."""
    if there.start is None or first is None:
        return None
    create, image = there.start.create, there.image
    return ColdStart(
        pull=None if image is None or image.pulled is None else round(image.pulled, 3),
        create=None if create is None else round(create, 3),
        answers=round(there.start.answers, 3),
        ready=round(there.start.ready, 3),
        first_result=round(there.start.ready + first, 3),
    )


class _Bench:
    """The loads of one target, one after the other."""

    def __init__(
        self,
        document: Mapping[str, Any],
        plan: Plan,
        meter: Meter,
        told: Told,
        caller: Caller,
    ) -> None:
        self._caller = caller
        self._meter = meter
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
                self._caller, times, rate, seen=lambda done: self._told(told, done, len(times))
            )
        )

    async def _closed(self, count: int, seconds: float, told: str) -> LoadReport:
        return await self._watched(
            closed_loop(self._caller, count, seconds, seen=lambda done: self._told(told, done, 0))
        )

    async def _watched(self, running: Any) -> LoadReport:
        async with self._meter.watching() as watch:
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
    return document


def _bodies(document: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]]) -> list[bytes]:
    if inputs:
        return [json.dumps(each).encode() for each in inputs]
    example = document.get("example")
    if not isinstance(example, dict):
        raise BenchError("the target tells no example of its input: say -i NAME=VALUE")
    return [json.dumps(example).encode()]
