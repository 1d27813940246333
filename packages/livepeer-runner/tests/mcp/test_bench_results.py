"""What the tool `bench` makes of a report."""

from __future__ import annotations

from livepeer.runner.bench.figures import figures
from livepeer.runner.bench.live.records import RecordsReport
from livepeer.runner.bench.live.report import (
    LiveReport,
    Share,
    StepReport,
    StreamReport,
    StreamsVerdict,
)
from livepeer.runner.bench.load import Run
from livepeer.runner.bench.report import BenchReport, Verdict, host, load_report
from livepeer.runner.bench.request import OK, Call
from livepeer.runner.mcp.bench_results import bench_result

WHO = {"target": ".", "pipeline": "x", "pipeline_version": "1", "host": host(), "at": ""}


def test_loads_of_calls() -> None:
    calls = [Call(0.0, 0.0, 0.1, OK)] * 20
    report = BenchReport.model_validate({
        **WHO,
        "kind": "request",
        "loads": [load_report(Run(calls, 2.0, 0.1, rate=10), None, 500)],
        "max": Verdict(aim="p50<500ms", rate=10.0, reason="at 20/s: p50 was 600.0 ms"),
        "paste": "one line",
    })  # fmt: skip
    told = bench_result(report.model_dump(mode="json"), "out.json")
    (load,) = told.loads
    assert (load.load, load.throughput, load.goodput) == ("10/s", 10, 10)
    assert load.latency_ms["p50"] == 100 and told.streams == []
    assert (told.highest_rate, told.reason) == (10, "at 20/s: p50 was 600.0 ms")
    assert (told.most_streams, told.paste, told.report) == (None, "one line", "out.json")


def test_streams() -> None:
    records = RecordsReport(received=9, per_second=9, age=figures([0.1] * 20), emitted=10, lost=1)
    one = StreamReport(
        fps_in=30, fps_out=29, sent=30, received=29, dropped=1, repeated=0, unreadable=0,
        matched_by="number", latency=figures([0.05] * 20), freezes=0, frozen_seconds=0,
        ended="it said: no more", records=records,
    )  # fmt: skip
    step = StepReport(
        streams=1, seconds=1, latency=one.latency, records=records, fps_in=30, fps_out=29,
        dropped_share=0.03, freezes=0, each=[one], generator_late_ms=0, generator_cpu=0.1,
    )  # fmt: skip
    live = LiveReport(
        picture="320x180@30", sound=True, steps=[step],
        share=Share(total_ms=50, transport_ms=20, model_ms=30),
        max=StreamsVerdict(aim="fps>24", streams=1, reason="with 2: too slow"),
    )  # fmt: skip
    report = BenchReport.model_validate({**WHO, "kind": "live", "live": live})
    told = bench_result(report.model_dump(mode="json"), "")
    (found,) = told.streams
    assert (found.streams, found.fps, found.latency_ms["p50"]) == (1, 29, 50)
    assert (found.records_per_second, found.records_lost) == (9, 1)
    assert found.ended == ["it said: no more"] and told.loads == []
    assert (told.most_streams, told.highest_rate, told.model_ms) == (1, None, 30)
    assert told.reason == "with 2: too slow"
