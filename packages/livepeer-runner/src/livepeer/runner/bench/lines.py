"""A report as lines of text, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from livepeer.runner.bench.figures import Figures
from livepeer.runner.bench.live.records import RecordsReport
from livepeer.runner.bench.live.report import LiveReport, Share, StepReport, StreamReport
from livepeer.runner.bench.report import BenchReport, ColdStart, Goodput, LoadReport
from livepeer.runner.bench.usage import Usage


def lines(report: BenchReport) -> Iterator[str]:
    """The whole report as lines of text."""
    if report.cold is not None:
        yield f"cold start: {cold_start(report.cold)}"
    for load in report.loads:
        yield _load(load)
    if report.max is not None:
        held = "not even the lowest rate" if report.max.rate is None else f"{report.max.rate:g}/s"
        yield _verdict(report.max.aim, held, report.max.reason)
    if report.live is not None:
        yield from _live(report.live)
    yield report.paste


def percentiles(found: Figures) -> str:
    if not found.percentiles:
        return f"({found.count} are too few for a percentile)"
    return " ".join(f"{name} {each.ms:.1f} ms" for name, each in found.percentiles.items())


def cold_start(cold: ColdStart) -> str:
    times = (
        ("pulled in", cold.pull),
        ("created in", cold.create),
        ("answers after", cold.answers),
        ("ready after", cold.ready),
        ("first result after", cold.first_result),
    )
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in times if seconds is not None)


def _load(load: LoadReport) -> str:
    parts = [f"{load.throughput:8.2f} calls/s", percentiles(load.latency)]
    if load.goodput is not None:
        parts.append(goodput(load.goodput))
    if load.events is not None:
        parts.append(f"first event {percentiles(load.events.first)}")
    if bad := {key: count for key, count in load.outcomes.items() if key != "ok"}:
        parts.append(", ".join(f"{count} x {key}" for key, count in bad.items()))
    return _row(load.name, parts, load.usage, load.limit)


def goodput(found: Goodput) -> str:
    return (
        f"goodput {found.per_second:.2f}/s within {found.objective_ms:g} ms "
        f"({found.share:.1%} of all calls)"
    )


def _row(name: str, parts: Sequence[str], usage: Usage | None, limit: str) -> str:
    """One load, or one number of streams."""
    told = [f"{name:>14}", *parts]
    if usage is not None:
        told.append(_usage(usage))
    if limit:
        told.append(f"NOT the target's figures: {limit}")
    return "  ".join(told)


def _usage(usage: Usage) -> str:
    told = f"{usage.cpu:g} cores {usage.memory_mb:.0f} MB"
    if usage.gpu is not None:
        told += f", GPU {usage.gpu:.0%} {usage.gpu_memory_mb or 0:.0f} MB"
    return told


def _verdict(aim: str, held: str, reason: str) -> str:
    return f"{aim}: {held}" + (f" ({reason})" if reason else "")


def _live(live: LiveReport) -> Iterator[str]:
    for step in live.steps:
        yield _step(step.name, step)
        for each in step.each:
            yield f"{'':14}    {_stream(each)}"
    if live.null is not None:
        yield _step("null pipeline", live.null)
    if live.share is not None:
        yield share(live.share)
    if live.max is not None:
        none = "not even the fewest streams"
        count = live.max.streams
        held = next((step.name for step in live.steps if step.streams == count), none)
        yield _verdict(live.max.aim, held, live.max.reason)


def share(found: Share) -> str:
    return (
        f"encode+decode+transport {found.transport_ms:.1f} ms of {found.total_ms:.1f} ms, "
        f"the model {found.model_ms:.1f} ms"
    )


def _step(name: str, step: StepReport) -> str:
    parts = []
    if not step.only_records:
        parts = [
            f"{step.fps_out:g} of {step.fps_in:g} pictures/s at least",
            percentiles(step.latency),
            f"{step.dropped_share:.1%} dropped, {step.freezes} freezes",
        ]
    if step.records is not None:
        parts.append(records(step.records))
    return _row(name, parts, step.usage, step.limit)


def records(found: RecordsReport) -> str:
    age = found.no_age or f"age {percentiles(found.age)}"
    lost = "" if found.lost is None else f", {found.lost} of {found.emitted} lost"
    return f"{found.per_second:g} records/s{lost}, {age}"


def _stream(one: StreamReport) -> str:
    if one.ended and one.first_ms is None:
        return one.ended
    parts = [] if one.only_records else [f"{one.fps_out:g}/s", percentiles(one.latency)]
    if one.records is not None:
        parts.append(records(one.records))
    if one.jitter_ms is not None:
        parts.append(f"jitter {one.jitter_ms:.1f} ms")
    if one.first_ms is not None:
        parts.append(f"first after {one.first_ms:.0f} ms")
    if not one.only_records:
        parts.append(f"{one.dropped} dropped")
    if one.freezes:
        parts.append(f"{one.freezes} freezes of {one.frozen_seconds:.1f} s in all")
    if one.matched_by == "pts":
        parts.append("matched by time, no number can be read")
    if one.matched_by == "nothing" and not one.only_records:
        parts.append("no latency: pictures carry neither our numbers nor our times")
    parts.append(f"A/V {one.skew.median_ms:+.1f} ms" if one.skew is not None else one.no_skew)
    if one.ended:
        parts.append(one.ended)
    return ", ".join(part for part in parts if part)
