"""Every example: `livepeer doctor`'s verdict, and `livepeer bench`'s figures of the same process.

One table: cold start, calls or streams, memory. What cannot run here is a row with its reason; the
whole ends within `--seconds`. Without the examples' packages few of them run: in the environment of
`scripts/test-examples` all do, `.venv-examples/bin/python benchmarks/examples.py`.
`--images localhost/` takes their images.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glass import table
from livepeer.runner import File
from livepeer.runner.bench.html import page
from livepeer.runner.bench.live.measure import LivePlan
from livepeer.runner.bench.measure import CAPACITY, measure_open
from livepeer.runner.bench.plan import BenchError, Plan
from livepeer.runner.bench.report import BenchReport
from livepeer.runner.bench.usage import gpu_taken
from livepeer.runner.doctor.diagnosis import Diagnosis
from livepeer.runner.doctor.examination import CannotExamine, Examination
from livepeer.runner.targets.hosting import OpenTarget, opened
from livepeer.runner.targets.reference import TargetError, TargetReference

EXAMPLES = Path(__file__).parents[1] / "examples"
START_SECONDS, BENCH_SECONDS, DOCTOR_SECONDS = 60.0, 75.0, 90.0
"""At most, of one example."""
HEADS = (
    *("example", "doctor", "bears", "p50, ms", "p95, ms", "p99, ms", "model, ms"),
    *("answers / ready / first, s", "cores", "MB"),
)


def inputs(name: str) -> list[dict[str, Any]]:
    """What an example is asked whose input is a file; the others bring an example of their own."""
    media = {"ocr": ("image", "page.png"), "image_upscale": ("image", "astronaut.jpg")}
    if name not in media:
        return []
    field, file = media[name]
    return [{field: File(EXAMPLES / "media" / file).data_uri()}]


def clip(name: str) -> Path | None:
    """What a live example is fed with that answers to what is shown or said; the others get a scene
    with clicks."""
    media = {"live_detect": "speaker.mp4", "live_transcribe": "speech.flac"}
    media |= {"live_caption_overlay": "speaker.mp4"}
    return EXAMPLES / "media" / media[name] if name in media else None


def row(name: str, report: BenchReport | None, why: str, verdict: str) -> list[str]:
    if report is None:
        return [name, verdict, f"not measured: {why}", *["–"] * (len(HEADS) - 3)]
    live = report.live
    if live is not None:
        count = live.max.streams if live.max is not None else None
        step = next((each for each in live.steps if each.streams == count), live.steps[0])
        figures, usage, limit = step.latency, step.usage, step.limit
        given = f"{step.fps_out:g} of {step.fps_in:g} pictures/s"
        if step.only_records and step.records is not None:
            given = f"{step.records.per_second:g} records/s"
        bears = f"{step.name} of {live.picture}, {given}"
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
        verdict,
        bears + (" *" if limit else ""),
        *told,
        model,
        " / ".join(f"{each:.1f}" for each in times),
        f"{usage.cpu:.2f}" if usage is not None else "–",
        f"{usage.memory_mb:.0f}" if usage is not None else "–",
    ]


def verdict(found: Diagnosis) -> str:
    """`32 ok`, with what is to be mended by its id."""
    wrong = [one.check.id for one in found.examined if one.outcome == "problem"]
    told = f"{found.count('passed')} ok"
    return f"{told}; **{', '.join(wrong)}**" if wrong else told


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


@dataclass(frozen=True)
class Given:
    """What was asked for."""

    name: list[str]
    duration: float
    streams: int
    seconds: float
    images: str | None
    out: Path | None


@dataclass
class Deadline:
    """Of the whole run: whatever is done has the rest at most."""

    at: float

    def of(self, seconds: float) -> asyncio.Timeout:
        return asyncio.timeout(max(0.1, min(seconds, self.at - time.monotonic())))


async def measured(
    there: OpenTarget, folder: Path, given: Given, deadline: Deadline, gpu_before: float
) -> tuple[BenchReport | None, str]:
    """The report, or why there is none."""
    is_live = "LivePipeline" in (folder / "pipeline.py").read_text(encoding="utf-8")
    search = given.streams > 1
    streams = [1, given.streams] if search else [1]
    fed = clip(folder.name)
    live = LivePlan(streams=streams, search=search, duration=given.duration, clip=fed)
    plan = Plan(duration=given.duration, warmup=1.0, streams=is_live, live=live)
    try:
        async with deadline.of(BENCH_SECONDS):
            asked = inputs(folder.name)
            return await measure_open(there, folder.name, plan, asked, gpu_before=gpu_before), ""
    except BenchError as error:
        return None, last_line(error)
    except TimeoutError:
        return None, "there was no time left"


async def judged(there: OpenTarget, folder: Path, deadline: Deadline) -> str:
    asked = inputs(folder.name)
    examination = Examination(quick=True, input=json.dumps(asked[0]).encode() if asked else None)
    try:
        async with deadline.of(DOCTOR_SECONDS):
            return verdict(await examination.of(there, folder.name))
    except CannotExamine as error:
        return f"not examined: {last_line(error)}"
    except TimeoutError:
        return "not examined: there was no time left"


async def one(
    folder: Path, given: Given, deadline: Deadline
) -> tuple[list[str], BenchReport | None]:
    report, why, told = None, "", "–"
    taken = await gpu_taken()
    # As many streams as are asked for, whatever the class takes.
    environ = {} if CAPACITY in os.environ or given.streams < 2 else {CAPACITY: str(given.streams)}
    try:
        async with (
            deadline.of(START_SECONDS + BENCH_SECONDS + DOCTOR_SECONDS),
            opened(
                target(folder, given.images), ready_seconds=START_SECONDS, environ=environ
            ) as there,
        ):
            report, why = await measured(there, folder, given, deadline, taken)
            # Last, since some of its checks end the process.
            told = await judged(there, folder, deadline)
    except TargetError as error:
        why = last_line(error)
    except TimeoutError:
        why = why or "there was no time left"
    return row(folder.name, report, why, told), report


def last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[-1].strip() if lines else type(error).__name__).replace("|", "/")


async def main(given: Given) -> None:
    deadline = Deadline(time.monotonic() + given.seconds)
    rows, lines = [], []
    for folder in chosen(given.name):
        print(f"{folder.name} ...", file=sys.stderr, flush=True)
        told, report = await one(folder, given, deadline)
        rows.append(told)
        if report is None:
            continue
        lines.append(report.paste)
        if given.out is not None:
            given.out.mkdir(parents=True, exist_ok=True)
            kept = given.out / folder.name
            kept.with_suffix(".json").write_text(report.model_dump_json(indent=2) + "\n")
            kept.with_suffix(".html").write_text(page(report))
    table(rows, HEADS)
    print("\n\\* the generator was the limit: not the example's figures.\n")
    for line in lines:
        print(f"- {line}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="*", help="folders of examples; all by default")
    parser.add_argument("--duration", type=float, default=5.0, help="seconds of each load")
    parser.add_argument("--streams", type=int, default=1, help="search up to so many, if live")
    parser.add_argument("--seconds", type=float, default=470.0, help="of the whole run, at most")
    parser.add_argument(
        "--images",
        metavar="PREFIX",
        help="their images: localhost/, docker.io/me/",
    )
    parser.add_argument("--out", type=Path, help="a folder for each example's report and page")
    asyncio.run(main(Given(**vars(parser.parse_args()))))
