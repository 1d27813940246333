"""A report as one page: no script, nothing from elsewhere, light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from livepeer.runner.bench.figures import Slice
from livepeer.runner.bench.lines import cold_start, lines, share
from livepeer.runner.bench.live.report import LiveReport
from livepeer.runner.bench.paste import machine, paste
from livepeer.runner.bench.plot import Axis, Line, Plot, linear
from livepeer.runner.bench.report import BenchReport
from livepeer.runner.bench.tables import named_steps, table

ROUNDED = 1.0001
"""A verdict's rate has fewer digits than the load's."""
MOST_LINES = 8
"""Of one plot: of more loads the last are shown."""
SHARES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))


def page(report: BenchReport) -> str:
    """The whole HTML document."""
    title = paste(report)
    name = " ".join(part for part in (report.pipeline, report.pipeline_version) if part)
    body = [
        f"<h1>{escape(name or report.target)}</h1>",
        f'<p class="paste"><code>{escape(title)}</code></p>',
        _facts(report),
        *(plot.svg() for plot in _plots(report)),
        table(report),
        "<h2>As text</h2><pre>" + escape("\n".join(lines(report))) + "</pre>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        + "\n".join(part for part in body if part)
        + "</main></body></html>\n"
    )


def _facts(report: BenchReport) -> str:
    host = report.host
    facts = [
        ("machine", f"{machine(host)}, {host.memory_mb:,} MB, {host.system}"),
        ("load before", "unknown" if host.load is None else f"{host.load:g} of {host.cores} cores"),
        ("measured", report.at),
        ("target", report.target),
    ]
    if report.digest:
        facts.append(("image", report.digest))
    if (cold := report.cold) is not None:
        facts.append(("cold start", cold_start(cold)))
    if report.live is not None and report.live.share is not None:
        facts.append(("glass to glass, p50", share(report.live.share)))
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(told)}</dd>" for name, told in facts)
    return f"<dl>{rows}</dl>"


def _plots(report: BenchReport) -> Iterable[Plot]:
    live = report.live
    if live is None:
        loads = report.loads
        named = [(load.name, load.curve, load.over_time, load.seconds) for load in loads]
        yield from _latencies("Latency", "calls", named)
        yield from _ramp_of_rates(report)
        return
    steps = named_steps(live)
    only_records = all(step.only_records for step in live.steps)
    yield from _latencies(
        "Age of records" if only_records else "Glass to glass",
        "records" if only_records else "pictures",
        [(name, step.curve, step.over_time, step.seconds) for name, step in steps],
    )
    yield from _ramp_of_streams(live)


Measured = tuple[str, Sequence[tuple[float, float]], Sequence[Slice], float]


def _latencies(what: str, of: str, found: Sequence[Measured]) -> Iterable[Plot]:
    found = [each for each in found if each[1]][-MOST_LINES:]
    if not found:
        return
    furthest = max(points[-1][0] for _, points, _, _ in found)
    x = Axis(
        f"share of {of}",
        0.0,
        _nines(furthest),
        [(0.0, "least"), *((_nines(at), name) for name, at in SHARES if at <= furthest)],
    )
    y = linear("ms", [ms for _, points, _, _ in found for _, ms in points])
    yield Plot(
        f"{what}: its distribution",
        x,
        y,
        [
            Line(name, [(_nines(share), ms) for share, ms in points], place)
            for place, (name, points, _, _) in enumerate(found)
        ],
    )
    bands, drawn, now = [], [], 0.0
    for place, (name, _, slices, seconds) in enumerate(found):
        bands.append((now, now + seconds, name))
        drawn.append(Line(name, [(now + each.at, each.mean_ms) for each in slices], place))
        drawn.append(Line("", [(now + each.at, each.max_ms) for each in slices], place, dots=True))
        now += seconds
    yield Plot(
        f"{what}: over time (line: mean, points: longest)",
        linear("seconds, one load after the other", [now], most=10),
        linear("ms", [ms for line in drawn for _, ms in line.points]),
        drawn,
        bands=bands,
    )


def _nines(share: float) -> float:
    """As far as 0.9 from 0 is 0.99 from 0.9, and so on."""
    return -math.log10(1 - share)


def _ramp_of_rates(report: BenchReport) -> Iterable[Plot]:
    verdict = report.max
    if verdict is None:
        return
    which, _, bound = verdict.aim.partition("<")
    limit = float(bound.removesuffix("ms"))
    points = [
        (load.rate, load.latency.percentiles[which].ms)
        for load in report.loads
        if load.rate is not None and which in load.latency.percentiles
    ]
    title = f"Search for the highest rate with {verdict.aim}"
    yield from _ramp(title, "calls a second", which, points, limit, verdict.rate)


def _ramp_of_streams(live: LiveReport) -> Iterable[Plot]:
    if live.max is None or len(live.steps) < 2:
        return
    wanted = next((term for term in live.max.aim.split(",") if term.startswith("p")), "")
    which, _, bound = wanted.partition("<")
    limit = None
    if bound:
        number = float(bound.removesuffix("ms").removesuffix("s"))
        limit = number if bound.endswith("ms") else number * 1000
    else:
        known: set[str] = set.intersection(*(set(one.latency.percentiles) for one in live.steps))
        which = "p95" if "p95" in known else "p50"
    points = [
        (float(step.streams), step.latency.percentiles[which].ms)
        for step in live.steps
        if which in step.latency.percentiles
    ]
    title = f"More and more streams: {live.max.aim}"
    yield from _ramp(title, "streams", which, points, limit, live.max.streams)


def _ramp(
    title: str,
    what: str,
    which: str,
    points: Sequence[tuple[float, float]],
    limit: float | None,
    most: float | None,
) -> Iterable[Plot]:
    """`most`: the highest number that held."""
    if not points:
        return
    # One that misses by far would press all others to the ground.
    top = max(ms for _, ms in points) if limit is None else 3 * limit
    held = [each for each in points if most is not None and each[0] <= most * ROUNDED]
    missed = [each for each in points if each not in held]
    groups = [("held", held, 2), ("missed", missed, 1)]
    yield Plot(
        title,
        linear(what, [rate for rate, _ in points]),
        linear(f"{which}, ms", [min(top, ms) for _, ms in points] + [limit or 0]),
        [
            Line("", sorted(points), 7),
            *(Line(name, of, colour, True, _told(of)) for name, of, colour in groups if of),
        ],
        level=None if limit is None else (limit, f"{limit:g} ms"),
    )


def _told(points: Sequence[tuple[float, float]]) -> list[str]:
    return [f"{rate:.4g}: {ms:.1f} ms" for rate, ms in points]


_LIGHT = ("#2563eb", "#dc2626", "#059669", "#b45309", "#7c3aed", "#0e7490", "#be185d", "#64748b")
_DARK = ("#60a5fa", "#f87171", "#34d399", "#fbbf24", "#a78bfa", "#22d3ee", "#f472b6", "#94a3b8")
STYLE = (
    ":root{--bg:#fff;--fg:#111827;--soft:#6b7280;--line:#e5e7eb;--band:#f3f4f6;"
    + "".join(f"--c{place}:{colour};" for place, colour in enumerate(_LIGHT))
    + "}@media(prefers-color-scheme:dark){:root{--bg:#0f172a;--fg:#e5e7eb;--soft:#94a3b8;"
    "--line:#334155;--band:#1e293b;"
    + "".join(f"--c{place}:{colour};" for place, colour in enumerate(_DARK))
    + "}}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}"
    "main{max-width:52rem;margin:0 auto;padding:1.5rem 1rem 3rem}h1{font-size:1.5rem;margin:0}"
    "h2{font-size:1.1rem;margin:2rem 0 .5rem}code,pre{font:13px/1.5 ui-monospace,monospace}"
    ".paste{background:var(--band);padding:.6rem .8rem;border-radius:.4rem;overflow-wrap:anywhere}"
    "pre{background:var(--band);padding:.8rem;border-radius:.4rem;overflow-x:auto}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:1rem 0}"
    "dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}figure{margin:1.5rem 0}"
    "figcaption{font-weight:600;margin-bottom:.3rem}svg{width:100%;height:auto;display:block}"
    "svg text{fill:var(--soft);font:12px system-ui,sans-serif}svg text.axis{fill:var(--fg)}"
    ".grid{stroke:var(--line)}.band{fill:var(--band)}.gap{fill:none}"
    "line.level{stroke:var(--c1);stroke-dasharray:5 4}svg text.level{fill:var(--c1)}"
    "polyline{fill:none;stroke-width:2;stroke-linejoin:round}"
    + "".join(
        f".s{place}{{stroke:var(--c{place})}}.f{place}{{fill:var(--c{place});fill-opacity:.75}}"
        f".c{place}{{background:var(--c{place})}}"
        for place in range(len(_LIGHT))
    )
    + ".legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:.3rem 0 0;color:var(--soft)}"
    ".legend i{display:inline-block;width:.8em;height:.8em;border-radius:.2em;margin-right:.4em}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;width:100%;white-space:nowrap}"
    "th,td{text-align:right;padding:.3rem .6rem;border-bottom:1px solid var(--line)}"
    "th:first-child{text-align:left}thead th{color:var(--soft);font-weight:500}"
)
