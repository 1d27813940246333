"""One line that an operator can paste: what a pipeline bears on this machine, and what it takes."""

from __future__ import annotations

import re

from livepeer.runner.bench.figures import Figures
from livepeer.runner.bench.live.report import LiveReport, StepReport
from livepeer.runner.bench.report import BenchReport, Host

DIGEST = 12
"""Letters of an image's digest."""


def paste(report: BenchReport) -> str:
    """`sentiment 1.0.0 @sha256:0a1b2c3d4e5f on 2x EPYC: 61 req/s at p99 < 100 ms; cold 2.1 s; 380
    MB`, with what there is."""
    name = " ".join(part for part in (report.pipeline, report.pipeline_version) if part)
    if report.digest:
        name += f" @{report.digest[: len('sha256:') + DIGEST]}…"
    parts = [part for part in (_bears(report), _cold(report), _memory(report)) if part]
    return f"{name or report.target} on {machine(report.host)}: {'; '.join(parts)}"


def machine(host: Host) -> str:
    """Cores and the processor's own name, without what every name has: `2×EPYC`."""
    words = re.sub(r"\((R|TM|tm)\)|@.*|\b(CPU|Processor|AMD|Intel|Xeon\b(?= ))", " ", host.cpu)
    words = re.sub(r"\b\d+-Core\b", " ", words)
    return f"{host.cores}×{' '.join(words.split()) or host.cpu}"


def _bears(report: BenchReport) -> str:
    if report.live is not None:
        return _streams(report)
    if report.max is not None and report.max.rate is not None:
        return f"{report.max.rate:.3g} req/s at {_aim(report.max.aim)}"
    measured = [load for load in report.loads if not load.limit] or report.loads
    if not measured:
        return ""
    best = max(measured, key=lambda load: load.throughput)
    told = f"{best.throughput:.3g} req/s{_highest(', ', best.latency)}"
    if best.goodput is not None:
        good = best.goodput
        told += f", goodput {good.per_second:.3g}/s within {good.objective_ms:g} ms"
    return f"{told} (the generator was the limit)" if best.limit else told


def _streams(report: BenchReport) -> str:
    live = report.live
    assert live is not None
    step = _held(live)
    what = "its own pictures" if live.picture == "nothing" else live.picture
    if step is None:
        limited = any(each.limit for each in live.steps)
        why = " (the generator was the limit)" if limited else ""
        return f"not one stream of {what}{why}"
    told = f"{step.name} of {what}"
    if not step.only_records:
        told += _highest(" at ", step.latency)
    if step.records is not None:
        found = step.records
        told += f", {found.per_second:.3g} records/s{_highest(' of age ', found.age)}"
        told += f", {found.lost} of {found.emitted} lost" if found.lost else ""
    if live.share is not None:
        told += (
            f", encode+decode+transport {live.share.transport_ms:.3g} ms of "
            f"{live.share.total_ms:.3g} ms"
        )
    return told


def _highest(before: str, found: Figures) -> str:
    """The highest percentile that is told; empty where none is."""
    for share in ("p99", "p95", "p50"):
        if (seen := found.percentiles.get(share)) is not None:
            return f"{before}{share} {seen.ms:.3g} ms"
    return ""


def _held(live: LiveReport) -> StepReport | None:
    """The step with the most streams that hold."""
    count = live.max.streams if live.max is not None else None
    return next((each for each in live.steps if each.streams == count), None)


def _aim(aim: str) -> str:
    return re.sub(r"<([\d.]+)", r" < \1 ", aim)


def _cold(report: BenchReport) -> str:
    return f"cold {report.cold.first_result:.1f} s" if report.cold is not None else ""


def _memory(report: BenchReport) -> str:
    usages = [load.usage for load in report.loads]
    if report.live is not None:
        step = _held(report.live)
        usages = [step.usage if step is not None else report.live.steps[0].usage]
    used = [each for each in usages if each is not None]
    told = f"{max(one.memory_mb for one in used):.0f} MB" if used else ""
    gpus = [one.gpu_memory_mb for one in used if one.gpu_memory_mb is not None]
    return f"{told}, GPU {max(gpus):.0f} MB" if gpus else told
