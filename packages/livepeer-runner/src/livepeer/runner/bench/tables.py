"""The table of a report's page: a row for each load, or for each number of streams."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from livepeer.runner.bench.figures import Figures
from livepeer.runner.bench.live.records import RecordsReport
from livepeer.runner.bench.live.report import LiveReport, StepReport
from livepeer.runner.bench.report import BenchReport, LoadReport
from livepeer.runner.bench.usage import Usage

SHARES = ("p50", "p95", "p99")
_USAGE = ("cores", "memory")
_RECORDS = ("records/s", *(f"age {share}" for share in SHARES), "lost")


def named_steps(live: LiveReport) -> list[tuple[str, StepReport]]:
    """All that was measured, each with its name; the null pipeline first."""
    nothing = [("null pipeline", live.null)] if live.null is not None else []
    return nothing + [(step.name, step) for step in live.steps]


def table(report: BenchReport) -> str:
    if report.live is not None:
        return _streams(named_steps(report.live))
    good = next((load.goodput for load in report.loads if load.goodput is not None), None)
    within = () if good is None else (f"goodput/s (< {good.objective_ms:g} ms)",)
    heads = ("", "calls/s", *within, *SHARES, "not ok", "late", *_USAGE)
    return _rows("Loads", heads, [_load(load, bool(within)) for load in report.loads])


def _streams(steps: Sequence[tuple[str, StepReport]]) -> str:
    pictures = not all(step.only_records for _, step in steps)
    records = any(step.records is not None for _, step in steps)
    heads = [
        "",
        *(("pictures/s", *SHARES, "dropped", "freezes") if pictures else ()),
        *(_RECORDS if records else ()),
        "generator",
        *_USAGE,
    ]
    rows = [
        [
            name,
            *(_pictures(step) if pictures else ()),
            *(_records(step.records) if records else ()),
            "too slow" if step.limit else "ok",
            *_usage(step.usage),
        ]
        for name, step in steps
    ]
    return _rows("Streams", heads, rows)


def _rows(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<h2>{title}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _load(load: LoadReport, goodput: bool) -> list[str]:
    bad = load.calls - load.outcomes.get("ok", 0)
    good = "–" if load.goodput is None else f"{load.goodput.per_second:.2f}"
    return [
        load.name,
        f"{load.throughput:.2f}",
        *([good] if goodput else []),
        *_three(load.latency),
        f"{bad}",
        f"{load.generator_late_ms:.1f} ms" + (" (too late)" if load.limit else ""),
        *_usage(load.usage),
    ]


def _pictures(step: StepReport) -> list[str]:
    shown = [f"{step.fps_out:g}", *_three(step.latency), f"{step.dropped_share:.1%}"]
    return ["–"] * 6 if step.only_records else [*shown, f"{step.freezes}"]


def _records(found: RecordsReport | None) -> list[str]:
    if found is None:
        return ["–"] * len(_RECORDS)
    lost = "–" if found.lost is None else f"{found.lost} of {found.emitted}"
    return [f"{found.per_second:g}", *_three(found.age), lost]


def _usage(used: Usage | None) -> list[str]:
    return ["–", "–"] if used is None else [f"{used.cpu:g}", f"{used.memory_mb:.0f} MB"]


def _three(found: Figures) -> list[str]:
    return [
        f"{found.percentiles[name].ms:.1f} ms" if name in found.percentiles else "–"
        for name in SHARES
    ]
