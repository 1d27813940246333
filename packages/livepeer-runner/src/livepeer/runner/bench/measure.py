"""One bench from its target to its report."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp

from livepeer.runner.bench.live.clip import UnreadableClip
from livepeer.runner.bench.live.door import Pay
from livepeer.runner.bench.live.measure import measure_streams
from livepeer.runner.bench.live.report import Window
from livepeer.runner.bench.loads import Loads
from livepeer.runner.bench.paste import paste
from livepeer.runner.bench.plan import BenchError, Plan, Told
from livepeer.runner.bench.report import BenchReport, ColdStart, host
from livepeer.runner.bench.request import OK, LoadCaller
from livepeer.runner.bench.road import BenchRoad, StraightRoad, through
from livepeer.runner.bench.usage import (
    CgroupOf,
    Meter,
    ProcessSource,
    SessionOf,
    gpu_taken,
)
from livepeer.runner.targets.hosting import OpenTarget, opened
from livepeer.runner.targets.offer import offer_of
from livepeer.runner.targets.reference import TargetReference
from livepeer.trickle.text import printable

LONGEST_NAME: Final = 200
CAPACITY: Final = "LIVEPEER_CAPACITY"
"""Whoever asks for so many streams wants to know what the machine bears, not what a class takes."""


async def measure(
    target: TargetReference,
    plan: Plan,
    *,
    inputs: Sequence[Mapping[str, Any]] = (),
    told: Told = lambda what, done, of: None,
    engine: str | None = None,
) -> BenchReport:
    """Load a target as the plan says. `inputs` are sent in turn; without any, the example of its
    schema.

    `engine` runs images: docker or podman. Raises `BenchError` and `TargetError`.
    """
    taken = await gpu_taken()
    told("starting", 0, 0)
    environ = {}
    if plan.streams and CAPACITY not in os.environ:
        environ[CAPACITY] = str(max(plan.live.streams))
    async with opened(target, environ=environ, engine=engine) as there:
        return await measure_open(there, target.text, plan, inputs, told=told, gpu_before=taken)


async def measure_offer(
    orchestrator: str,
    name: str,
    plan: Plan,
    *,
    inputs: Sequence[Mapping[str, Any]] = (),
    told: Told = lambda what, done, of: None,
    pay: Pay | None = None,
) -> BenchReport:
    """What an orchestrator offers under a name, called through it as its callers do; see `measure`.

    `pay` gives the headers that pay for a call; without it what has a price is refused.
    """
    told("asking the orchestrator", 0, 0)
    async with aiohttp.ClientSession() as session:
        offer = await offer_of(orchestrator, name, session)
    async with through(offer, pay) as road:
        there = OpenTarget(orchestrator)
        return await measure_open(
            there, f"{name} through {orchestrator}", plan, inputs, told=told, road=road
        )


async def measure_open(
    there: OpenTarget,
    name: str,
    plan: Plan,
    inputs: Sequence[Mapping[str, Any]] = (),
    *,
    told: Told = lambda what, done, of: None,
    gpu_before: float = 0.0,
    road: BenchRoad | None = None,
) -> BenchReport:
    """A target that runs; see `measure`. `road`: how it is called, by default at its URL."""
    meter = Meter(await asyncio.to_thread(_source, there), gpu_before)
    road = road or StraightRoad(there.url, there.host)
    document = await road.document()
    report = BenchReport(
        target=name,
        pipeline=printable(str(document.get("id") or ""), LONGEST_NAME),
        pipeline_version=printable(str(document.get("version") or ""), LONGEST_NAME),
        digest=await asyncio.to_thread(_digest, there),
        kind="request",
        host=host(),
        at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    if _is_live(document, plan):
        if inputs:
            raise BenchError(
                "a live pipeline is fed with a clip (-i in.mp4); its parameters are -p NAME=VALUE"
            )
        await _streams(there, road, document, plan, meter, told, report)
    else:
        await _calls(there, road, document, plan, inputs, meter, told, report)
    report.paste = paste(report)
    return report


async def _streams(
    there: OpenTarget,
    road: BenchRoad,
    document: Mapping[str, Any],
    plan: Plan,
    meter: Meter,
    told: Told,
    report: BenchReport,
) -> None:
    report.kind = "live"
    window = Window(plan.warmup, plan.live.duration)
    try:
        report.live = await measure_streams(
            road.door,
            lambda nothing: StraightRoad(nothing.url).door,
            document,
            plan.live,
            window,
            meter,
            told=told,
        )
    except UnreadableClip as error:
        raise BenchError(f"this cannot be fed to a stream: {error}") from error
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
    if plan.live.clip is not None and document.get("generates"):
        raise BenchError("this pipeline makes its pictures itself: it is fed nothing, no -i either")
    if plan.live.clip is not None and not live:
        raise BenchError(f"this pipeline has no streams: -i NAME=VALUE, or NAME=@{plan.live.clip}")
    if plan.streams and not live:
        raise BenchError("this pipeline has no streams: say --rate, --concurrency or --find-max")
    return live


async def _calls(
    there: OpenTarget,
    road: BenchRoad,
    document: Mapping[str, Any],
    plan: Plan,
    inputs: Sequence[Mapping[str, Any]],
    meter: Meter,
    told: Told,
    report: BenchReport,
) -> None:
    bodies = _bodies(document, inputs)
    stamp = None if isinstance(road, StraightRoad) else road.stamp
    async with LoadCaller(road.predict, bodies, stamp=stamp, timeout=plan.timeout) as caller:
        first = await caller(caller.clock())
        if first.outcome != OK:
            raise BenchError(
                f"the first call did not succeed ({first.outcome}): what it was sent may not "
                f"be its input; say -i NAME=VALUE"
            )
        report.cold = _cold(there, first.service)
        if first.first_event is not None:
            report.kind = "stream"
        await Loads(document, plan, meter, told, caller).run(report)


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


def _bodies(document: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]]) -> list[bytes]:
    if inputs:
        return [json.dumps(each).encode() for each in inputs]
    example = document.get("example")
    if not isinstance(example, dict):
        raise BenchError("the target tells no example of its input: say -i NAME=VALUE")
    return [json.dumps(example).encode()]
