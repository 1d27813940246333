"""The bench for authors' own tests."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from livepeer.runner.bench.live.measure import LivePlan
from livepeer.runner.bench.live.shot import Shot
from livepeer.runner.bench.measure import measure_open
from livepeer.runner.bench.plan import Plan
from livepeer.runner.bench.search import milliseconds
from livepeer.runner.targets.hosting import OpenTarget
from livepeer.runner.testing.http import client

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from livepeer.runner.author.pipeline import PipelineBase
    from livepeer.runner.bench.report import BenchReport


def bench(
    target: type[PipelineBase] | str,
    *,
    input: Mapping[str, Any] | Path | None = None,
    rate: float | None = None,
    concurrency: int | None = None,
    goodput: str = "",
    streams: int | None = None,
    params: Mapping[str, Any] | None = None,
    size: tuple[int, int] = (320, 180),
    fps: float = 15.0,
    duration: float = 1.0,
    warmup: float = 0.0,
    null: bool = False,
) -> BenchReport:
    """Measure a class, served on the loopback, or a container at its URL, as `livepeer bench`.

        assert bench(Sentiment, rate=20).failed == 0

    `rate` calls a second, or `concurrency` callers who each wait for their answer; of a live class
    `streams` of pictures of that `size`, `fps` and `params`, and with `null` also one of a pipeline
    that returns each picture. `goodput`, such as `"200ms"`: count the calls that succeed within it.
    `duration` and `warmup` are seconds. `input` is by default the example of the schema; of a live
    class it is the path of a clip, which is fed in place of a scene with clicks. How fast a machine
    is differs from run to run: what a test asserts are counts, and times with much room. Raises
    `BenchError`, and `ValueError` for a time that is none.
    """
    plan = Plan(
        rates=[] if rate is None else [rate],
        concurrency=[] if concurrency is None else [concurrency],
        objective_ms=milliseconds(goodput) if goodput else None,
        duration=duration,
        warmup=warmup,
        streams=streams is not None,
        live=LivePlan(
            streams=[streams or 1],
            shot=Shot(*size, fps),
            params=params or {},
            clip=input if isinstance(input, Path) else None,
            null=null,
            duration=duration,
        ),
    )
    inputs = [] if input is None or isinstance(input, Path) else [input]
    if isinstance(target, str):
        return _measured(target, target, plan, inputs)
    with client(target) as served:
        return _measured(str(served.base_url).rstrip("/"), target.__name__, plan, inputs)


def _measured(url: str, name: str, plan: Plan, inputs: list[Mapping[str, Any]]) -> BenchReport:
    # In a thread: the caller may have a loop of its own that runs.
    with ThreadPoolExecutor(1, thread_name_prefix="bench") as thread:
        return thread.submit(
            asyncio.run, measure_open(OpenTarget(url), name, plan, inputs)
        ).result()
