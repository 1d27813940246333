"""A report as lines of text, for people."""

from __future__ import annotations

from collections.abc import Iterator

from livepeer.runner.bench.figures import Figures
from livepeer.runner.bench.live.report import LiveReport, StepReport, StreamReport
from livepeer.runner.bench.report import BenchReport, ColdStart, LoadReport
from livepeer.runner.bench.usage import Usage


def lines(report: BenchReport) -> Iterator[str]:
    """The whole report as lines of text."""
    if report.cold is not None:
        yield _cold(report.cold)
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


def _cold(cold: ColdStart) -> str:
    parts = [
        f"{name} {seconds:.2f} s"
        for name, seconds in (
            ("pulled in", cold.pull),
            ("created in", cold.create),
            ("answers after", cold.answers),
            ("ready after", cold.ready),
            ("first result after", cold.first_result),
        )
        if seconds is not None
    ]
    return f"cold start: {', '.join(parts)}"


def _load(load: LoadReport) -> str:
    what = f"{load.rate:.4g}/s" if load.loop == "open" else f"{load.concurrency} at a time"
    parts = [f"{what:>14}  {load.throughput:8.2f} calls/s  {percentiles(load.latency)}"]
    if load.events is not None:
        parts.append(f"first event {percentiles(load.events.first)}")
    if load.usage is not None:
        parts.append(_usage(load.usage))
    if bad := {key: count for key, count in load.outcomes.items() if key != "ok"}:
        parts.append(", ".join(f"{count} x {key}" for key, count in bad.items()))
    if load.limit:
        parts.append(f"NOT the target's figures: {load.limit}")
    return "  ".join(parts)


def _usage(usage: Usage) -> str:
    told = f"{usage.cpu:g} cores {usage.memory_mb:.0f} MB"
    if usage.gpu is not None:
        told += f", GPU {usage.gpu:.0%} {usage.gpu_memory_mb or 0:.0f} MB"
    return told


def _verdict(aim: str, held: str, reason: str) -> str:
    return f"{aim}: {held}" + (f" ({reason})" if reason else "")


def _live(live: LiveReport) -> Iterator[str]:
    if live.null is not None:
        yield f"{'null pipeline':>14}  {_step(live.null)}"
    for step in live.steps:
        yield f"{_count(step.streams):>14}  {_step(step)}"
        for each in step.each:
            yield f"{'':14}    {_stream(each)}"
    if live.share is not None:
        yield (
            f"encode+decode+transport {live.share.transport_ms:.1f} ms of "
            f"{live.share.total_ms:.1f} ms, the model {live.share.model_ms:.1f} ms"
        )
    if live.max is not None:
        none = "not even the fewest streams"
        held = none if live.max.streams is None else _count(live.max.streams)
        yield _verdict(live.max.aim, held, live.max.reason)


def _count(streams: int) -> str:
    return f"{streams} stream{'s' if streams != 1 else ''}"


def _step(step: StepReport) -> str:
    parts = [
        f"{step.fps_out:g} of {step.fps_in:g} pictures/s at least",
        percentiles(step.latency),
        f"{step.dropped_share:.1%} dropped, {step.freezes} freezes",
    ]
    if step.usage is not None:
        parts.append(_usage(step.usage))
    if step.limit:
        parts.append(f"NOT the target's figures: {step.limit}")
    return "  ".join(parts)


def _stream(one: StreamReport) -> str:
    if one.ended and one.first_ms is None:
        return one.ended
    parts = [f"{one.fps_out:g}/s", percentiles(one.latency)]
    if one.jitter_ms is not None:
        parts.append(f"jitter {one.jitter_ms:.1f} ms")
    if one.first_ms is not None:
        parts.append(f"first after {one.first_ms:.0f} ms")
    parts.append(f"{one.dropped} dropped")
    if one.freezes:
        parts.append(f"{one.freezes} freezes of {one.frozen_seconds:.1f} s in all")
    if one.matched_by == "pts":
        parts.append("matched by time, no number can be read")
    if one.matched_by == "nothing":
        parts.append("no latency: pictures carry neither our numbers nor our times")
    parts.append(f"A/V {one.skew.median_ms:+.1f} ms" if one.skew is not None else one.no_skew)
    if one.ended:
        parts.append(one.ended)
    return ", ".join(part for part in parts if part)
