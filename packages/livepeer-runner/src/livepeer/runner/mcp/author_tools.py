"""Writing a pipeline: `scaffold`, `check`, `test`, `serve`, `docs`."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Literal

from mcp_types import ToolAnnotations
from pydantic import Field

from livepeer.runner.mcp.arguments import PipelineArgument, Seconds
from livepeer.runner.mcp.children import ChildFailed
from livepeer.runner.mcp.results import (
    Checked,
    Manual,
    Mistake,
    Scaffold,
    ServeState,
    TestRun,
)
from livepeer.runner.mcp.workbench import ToolContext, failed, made_tool
from livepeer.trickle.cli.docs import NoPage, page, topics

_COUNTS = re.compile(r"(\d+) (passed|failed|error|errors|skipped)\b")


async def scaffold(
    ctx: ToolContext,
    folder: Annotated[str, Field(description="A new folder within the root.")],
    template: Annotated[
        str,
        Field(
            description="batch (a call with an answer), image, stream (with events), live-video, "
            "live-audio, live-data, generate (a stream without input)."
        ),
    ] = "batch",
    name: Annotated[
        str | None, Field(description="Its name, such as text-to-image; default: the folder's.")
    ] = None,
) -> Scaffold:
    """Make a folder with a pipeline that runs: class, manifest, test.

    Use it first. Then edit pipeline.py, and try it with `predict`, or `run_live` for a live
    one. Nothing that is there is overwritten.
    """
    bench = ctx.request_context.lifespan_context
    path = bench.path(folder, must_exist=False)
    arguments = ["init", str(path), "--template", template, *(["--name", name] if name else [])]
    made = await bench.document(
        ctx,
        *arguments,
        folder=bench.root.path,
        seconds=60,
        next_step="choose another folder, template or name",
    )
    live = template.startswith("live") or template == "generate"
    return Scaffold(
        folder=bench.root.shown(path),
        id=made["id"],
        files=made["files"],
        next=f"edit {folder}/pipeline.py, then `{'run_live' if live else 'predict'}`, `test`",
    )


async def check(
    ctx: ToolContext,
    pipeline: PipelineArgument = ".",
    seconds: Seconds = 60,
) -> Checked:
    """Find what is wrong with a pipeline's source in a second, before it runs.

    Gives each mistake with its file, its line and its fix; `livepeer explain CODE` tells more. Use
    it after each change. Next: mend the errors; then `predict` or `run_live`.
    """
    bench = ctx.request_context.lifespan_context
    folder, target = bench.target(pipeline)
    document = await bench.document(
        ctx,
        *("check", target, "--json"),
        folder=folder,
        seconds=seconds,
        next_step="name a pipeline that is there",
        good=(0, 1),
    )
    return Checked(
        errors=document["summary"]["errors"],
        warnings=document["summary"]["warnings"],
        findings=[Mistake.model_validate(each) for each in document["findings"][:50]],
    )


async def test(
    ctx: ToolContext,
    folder: Annotated[str, Field(description="Where the tests are; default: '.'.")] = ".",
    only: Annotated[
        str | None, Field(description="Only tests whose names match, as pytest's -k.")
    ] = None,
    seconds: Seconds = 600,
) -> TestRun:
    """Run a pipeline's tests with pytest.

    Gives how many passed and failed, and what pytest said. Next: mend what failed; then
    `doctor` and `build`.
    """
    bench = ctx.request_context.lifespan_context
    path = bench.path(folder)
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--no-header", "--color=no"]
    command += ["-p", "no:cacheprovider", *(["-k", only] if only is not None else [])]
    try:
        ended = await bench.children.run(
            command,
            folder=path,
            seconds=seconds,
            tell=lambda at, what: ctx.report_progress(at, None, what or None),
            good=(0, 1, 2),
        )
    except ChildFailed as error:
        why = "no test was found there" if error.code == 5 else str(error)
        raise failed(
            "the tests did not run",
            why,
            "name the folder with the tests; pytest comes with livepeer-runner[dev]",
        ) from None
    lines = ended.out.rstrip().splitlines()
    found = {kind: int(count) for count, kind in _COUNTS.findall(lines[-1] if lines else "")}
    return TestRun(
        passed=found.get("passed", 0),
        failed=found.get("failed", 0),
        errors=found.get("error", 0) + found.get("errors", 0),
        skipped=found.get("skipped", 0),
        output="\n".join(lines)[-8000:],
    )


async def serve(
    ctx: ToolContext,
    action: Literal["start", "stop", "logs"],
    pipeline: PipelineArgument = ".",
    lines: Annotated[int, Field(ge=0, le=500, description="Lines of the log.")] = 40,
    seconds: Annotated[
        float, Field(gt=0, le=3600, description="Seconds that its setup may take.")
    ] = 300,
) -> ServeState:
    """Serve a pipeline over HTTP on this machine, in the background: start, stop, logs.

    One at a time; it ends with this server. `start` waits until it is ready and gives its URL:
    `doctor` and `bench` take that as their target. `logs` also says whether it still runs.
    """
    bench = ctx.request_context.lifespan_context
    background = bench.background
    if action == "stop":
        return await background.stop()
    if action == "logs":
        return background.state(lines)
    folder, target = bench.target(pipeline)
    try:
        state = await background.start(folder, target, pipeline, seconds)
    except ChildFailed as error:
        raise failed(
            "it cannot be served", str(error), "mend what it says, and `start` it again"
        ) from None
    state.next = f"POST {state.url}/predict, or `doctor` and `bench` with target {state.url}"
    return state


async def docs(
    topic: Annotated[
        str | None, Field(description="A page, such as live-video; without it: what there is.")
    ] = None,
) -> Manual:
    """Read the manual: a list of its pages, or one page as Markdown.

    Read the tutorial of the kind that you write (request, stream, live-video) before you begin.
    Next: `scaffold`.
    """
    try:
        return Manual(topics=topics() if topic is None else {}, text=page(topic) if topic else "")
    except NoPage as error:
        raise failed("there is no such page", str(error), "call `docs` without a topic") from None


TOOLS = (
    made_tool(
        scaffold, title="Begin a pipeline", annotations=ToolAnnotations(destructive_hint=False)
    ),
    made_tool(
        check,
        title="Find mistakes",
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    ),
    made_tool(
        test,
        title="Run the tests",
        annotations=ToolAnnotations(open_world_hint=False),
        structured_output=True,
    ),
    made_tool(serve, title="Serve in the background", annotations=ToolAnnotations()),
    made_tool(
        docs,
        title="Read the manual",
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    ),
)
