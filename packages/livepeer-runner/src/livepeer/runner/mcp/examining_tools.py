"""Judging and measuring a pipeline: `doctor`, `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from mcp_types import ToolAnnotations
from pydantic import Field

from livepeer.runner.mcp.arguments import Output, Seconds, Target
from livepeer.runner.mcp.bench_results import Bench, bench_result
from livepeer.runner.mcp.results import DoctorFinding, DoctorResult
from livepeer.runner.mcp.workbench import ToolContext, Workbench, made_tool


def place(bench: Workbench, target: str) -> tuple[Path, str]:
    return (bench.root.path, target) if "://" in target else bench.target(target)


async def doctor(
    ctx: ToolContext,
    target: Target = ".",
    quick: Annotated[bool, Field(description="Leave out what takes over ten seconds.")] = True,
    only: Annotated[
        list[str], Field(description="Groups or checks, such as http, live; default: all.")
    ] = [],  # noqa: B006 — never changed
    seconds: Seconds = 600,
) -> DoctorResult:
    """Examine a pipeline or a running container: is it what orchestrators and callers need?

    Gives each problem with what was seen and how it is mended; `must` has to be 0. Next: mend
    those; then `bench` and `build`.
    """
    bench = ctx.request_context.lifespan_context
    folder, name = place(bench, target)
    chosen = [part for each in only for part in ("--only", each)]
    document = await bench.document(
        ctx,
        *("doctor", name, "--json", *(["--quick"] if quick else []), *chosen),
        folder=folder,
        seconds=seconds,
        next_step="make it run with `predict` or `run_live` first, or name a URL that answers",
        good=(0, 1),
    )
    findings = [
        DoctorFinding(
            check=check["id"],
            level=check["level"],
            title=check["title"],
            seen=found["seen"],
            fix=found["fix"],
        )
        for check in document["checks"]
        if check["outcome"] == "problem"
        for found in check["findings"]
    ]
    summary = {name: document["summary"][name] for name in ("passed", "must", "should")}
    return DoctorResult(
        **summary, not_judged=document["summary"]["not_judged"], findings=findings[:50]
    )


async def measure(
    ctx: ToolContext,
    target: Target = ".",
    input: Annotated[
        dict[str, Any],
        Field(description="The call to repeat, files as @path; default: of its schema."),
    ] = {},  # noqa: B006 — never changed
    clip: Annotated[
        str | None,
        Field(description="Live: a video or a sound within the root that streams are fed with."),
    ] = None,
    rates: Annotated[
        list[float], Field(max_length=8, description="Calls a second, one after the other.")
    ] = [],  # noqa: B006
    concurrency: Annotated[
        list[int], Field(max_length=8, description="Callers who each wait for their answer.")
    ] = [],  # noqa: B006
    streams: Annotated[
        str, Field(description="Live: streams at once, 1,2,4; or 1..8, the most that hold.")
    ] = "",
    params: Annotated[dict[str, Any], Field(description="Live: the streams' parameters.")] = {},  # noqa: B006
    find_max: Annotated[
        str,
        Field(description='What has to hold: "p99<500ms" of calls; of streams "p95<200ms,fps>24".'),
    ] = "",
    duration: Annotated[float, Field(ge=0.5, le=120, description="Seconds of a load.")] = 5,
    output: Output = None,
    seconds: Seconds = 600,
) -> Bench:
    """Measure what a pipeline bears: calls at a rate and the highest rate; live, its streams.

    Gives percentiles for each load (live: glass to glass, pictures and records a second) and one
    line for operators; `output` keeps the whole report (JSON). Next: `build`.
    """
    bench = ctx.request_context.lifespan_context
    folder, name = place(bench, target)
    kept = bench.output(output)
    options = ["--duration", f"{duration:g}"]
    options += ["--rate", ",".join(f"{rate:g}" for rate in rates)] if rates else []
    options += ["--concurrency", ",".join(map(str, concurrency))] if concurrency else []
    options += ["--streams", streams] if streams else []
    options += ["--find-max", find_max] if find_max else []
    options += ["--json", str(kept)] if kept is not None else []
    options += [part for each in bench.fields(input) for part in ("-i", each)]
    options += ["-i", str(bench.path(clip))] if clip is not None else []
    options += [part for each in bench.fields(params) for part in ("-p", each)]
    report = await bench.document(
        ctx,
        *("bench", name, *options),
        folder=folder,
        seconds=seconds,
        next_step="mend what it says; make it run with `predict` or `run_live` first",
    )
    return bench_result(report, output or "")


TOOLS = (
    made_tool(
        doctor,
        title="Examine a container",
        annotations=ToolAnnotations(destructive_hint=False, open_world_hint=False),
    ),
    made_tool(
        measure,
        name="bench",
        title="Measure a pipeline",
        annotations=ToolAnnotations(destructive_hint=False, open_world_hint=False),
    ),
)
