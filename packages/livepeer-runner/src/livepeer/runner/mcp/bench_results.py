"""What the tool `bench` gives an agent: the figures of a report, without its curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


class BenchLoad(BaseModel):
    """One load of calls."""

    load: str
    throughput: float
    """Calls that succeeded, a second."""
    latency_ms: dict[str, float]
    outcomes: dict[str, int]
    goodput: float | None = None
    """Calls that succeeded within the aim's time, a second, where an aim was given."""
    limit: str = ""
    """Why these are not the pipeline's own figures; empty where they are."""


class BenchStreams(BaseModel):
    """So many streams of a live pipeline at once."""

    streams: int
    fps: float
    """Pictures a second that came out of the stream with the fewest."""
    latency_ms: dict[str, float]
    """Glass to glass; of a pipeline that gives nothing but records, their age."""
    dropped_share: float
    freezes: int
    records_per_second: float | None = None
    records_lost: int | None = None
    ended: list[str] = []
    """Why streams ended before their time."""
    limit: str = ""
    """Why these are not the pipeline's own figures; empty where they are."""


class Bench(BaseModel):
    """What a pipeline bears."""

    pipeline: str
    loads: list[BenchLoad] = []
    """Of a request pipeline."""
    streams: list[BenchStreams] = []
    """Of a live one."""
    highest_rate: float | None = None
    """Calls a second at which the aim held, where one was given."""
    most_streams: int | None = None
    """Streams at once at which the aim held."""
    reason: str = ""
    """Why no more hold."""
    model_ms: float | None = None
    """Of the latency of one stream, the model's own share: the rest is encoding and transport."""
    paste: str
    """One line for an operator."""
    report: str = ""
    """Where the whole report is."""


def bench_result(report: Mapping[str, Any], path: str) -> Bench:
    """Of the document of `livepeer bench` (specs/schemas/bench.json)."""
    live = report["live"] or {}
    verdict = live.get("max") or report["max"] or {}
    return Bench(
        pipeline=report["pipeline"],
        loads=[_load(load) for load in report["loads"]],
        streams=[_streams(step) for step in live.get("steps", [])],
        highest_rate=verdict.get("rate"),
        most_streams=verdict.get("streams"),
        reason=verdict.get("reason", ""),
        model_ms=live["share"]["model_ms"] if live.get("share") else None,
        paste=report["paste"],
        report=path,
    )


def _load(load: Mapping[str, Any]) -> BenchLoad:
    is_open = load["loop"] == "open"
    return BenchLoad(
        load=f"{load['rate']:g}/s" if is_open else f"{load['concurrency']} at a time",
        throughput=load["throughput"],
        latency_ms=_latencies(load),
        outcomes=load["outcomes"],
        goodput=load["goodput"]["per_second"] if load["goodput"] else None,
        limit=load["limit"],
    )


def _streams(step: Mapping[str, Any]) -> BenchStreams:
    records = step["records"] or {}
    return BenchStreams(
        streams=step["streams"],
        fps=step["fps_out"],
        latency_ms=_latencies(step),
        dropped_share=step["dropped_share"],
        freezes=step["freezes"],
        records_per_second=records.get("per_second"),
        records_lost=records.get("lost"),
        ended=[each["ended"] for each in step["each"] if each["ended"]][:10],
        limit=step["limit"],
    )


def _latencies(measured: Mapping[str, Any]) -> dict[str, float]:
    return {key: each["ms"] for key, each in measured["latency"]["percentiles"].items()}
