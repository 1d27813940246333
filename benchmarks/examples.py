"""Every example, measured as `livepeer bench` does: cold start, calls or streams, memory.

Those whose packages are missing are told. In the environment of `scripts/test-examples` all run:
`.venv-examples/bin/python benchmarks/examples.py`. `--images localhost/` measures their images.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glass import table
from livepeer.runner import File
from livepeer.runner.bench.html import page
from livepeer.runner.bench.live.measure import LivePlan
from livepeer.runner.bench.measure import measure
from livepeer.runner.bench.plan import BenchError, Plan
from livepeer.runner.bench.report import BenchReport
from livepeer.runner.targets.reference import TargetError, TargetReference

EXAMPLES = Path(__file__).parents[1] / "examples"
HEADS = (
    *("example", "bears", "p50, ms", "p95, ms", "p99, ms", "model, ms"),
    *("answers / ready / first, s", "cores", "MB"),
)


def inputs(name: str) -> list[dict[str, Any]]:
    """What an example is asked whose input is a file; the others bring an example of their own."""
    media = {"ocr": ("image", "page.png"), "image_upscale": ("image", "astronaut.jpg")}
    if name not in media:
        return []
    field, file = media[name]
    return [{field: File(EXAMPLES / "media" / file).data_uri()}]


def row(name: str, report: BenchReport) -> list[str]:
    live = report.live
    if live is not None:
        count = live.max.streams if live.max is not None else None
        step = next((each for each in live.steps if each.streams == count), live.steps[0])
        figures, usage, limit = step.latency, step.usage, step.limit
        bears = f"{count or 0} of {live.picture}"
        model = f"{live.share.model_ms:.1f}" if live.share is not None else "–"
    else:
        load = report.loads[0]
        figures, usage, limit = load.latency, load.usage, load.limit
        bears, model = f"{load.throughput:.3g} calls/s", "–"
    cold = report.cold
    told = [
        f"{figures.percentiles[share].ms:.1f}" if share in figures.percentiles else "–"
        for share in ("p50", "p95", "p99")
    ]
    times = (cold.answers or 0, cold.ready, cold.first_result) if cold is not None else ()
    return [
        name,
        bears + (" *" if limit else ""),
        *told,
        model,
        " / ".join(f"{each:.1f}" for each in times),
        f"{usage.cpu:.2f}" if usage is not None else "–",
        f"{usage.memory_mb:.0f}" if usage is not None else "–",
    ]


def chosen(names: list[str]) -> Iterator[Path]:
    for folder in sorted(EXAMPLES.iterdir()):
        if (folder / "pipeline.py").exists() and (
            folder.name in names or not (names or folder.name.startswith("_"))
        ):
            yield folder


def target(folder: Path, images: str | None) -> TargetReference:
    """Its class; or its image, by the name that `livepeer build` gives it."""
    if images is None:
        return TargetReference("class", str(folder))
    return TargetReference("image", f"{images}{folder.name.replace('_', '-')}-livepeer-runner")


async def main(arguments: Mapping[str, Any]) -> None:
    duration, streams = arguments["duration"], arguments["streams"]
    live = LivePlan(streams=[1, streams], search=True, duration=duration)
    rows, lines, missing = [], [], []
    for folder in chosen(arguments["name"]):
        print(f"{folder.name} ...", file=sys.stderr, flush=True)
        is_live = "LivePipeline" in (folder / "pipeline.py").read_text(encoding="utf-8")
        plan = Plan(duration=duration, streams=is_live, live=live)
        try:
            given = inputs(folder.name)
            report = await measure(target(folder, arguments["images"]), plan, inputs=given)
        except (BenchError, TargetError) as error:
            missing.append(f"{folder.name}: {str(error).strip().splitlines()[-1]}")
            continue
        rows.append(row(folder.name, report))
        lines.append(report.paste)
        if arguments["out"] is not None:
            arguments["out"].mkdir(parents=True, exist_ok=True)
            kept = arguments["out"] / folder.name
            kept.with_suffix(".json").write_text(report.model_dump_json(indent=2) + "\n")
            kept.with_suffix(".html").write_text(page(report))
    table(rows, HEADS)
    print("\n\\* the generator was the limit: not the example's figures.\n")
    for line in lines:
        print(f"- {line}")
    for line in missing:
        print(f"- not run: {line}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="*", help="folders of examples; all by default")
    parser.add_argument("--duration", type=float, default=20.0, help="seconds of each load")
    parser.add_argument("--streams", type=int, default=8, help="at most, of a live example")
    parser.add_argument(
        "--images",
        metavar="PREFIX",
        help="their images: localhost/, docker.io/me/",
    )
    parser.add_argument("--out", type=Path, help="a folder for each example's report and page")
    asyncio.run(main(vars(parser.parse_args())))
