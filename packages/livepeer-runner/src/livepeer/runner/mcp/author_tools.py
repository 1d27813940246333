"""Writing a pipeline: `scaffold`, `predict`, `run_live`, `test`, `serve`."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from mcp_types import CallToolResult, ContentBlock, ToolAnnotations
from pydantic import Field

from livepeer.runner.mcp.children import ChildFailed
from livepeer.runner.mcp.results import (
    MOST_RECORDS,
    Checked,
    LiveRun,
    Manual,
    Mistake,
    Picture,
    Prediction,
    Scaffold,
    ServeState,
    TestRun,
    answer,
    jpeg_block,
    media_block,
    shortened,
    without_files,
)
from livepeer.runner.mcp.workbench import ToolContext, Workbench, failed, made_tool, scratch
from livepeer.trickle.cli.docs import NoPage, page, topics

PipelineArgument = Annotated[
    str,
    Field(description="A folder with a pipeline, pipeline.py, or pipeline.py:Class; default: '.'."),
]
Seconds = Annotated[float, Field(gt=0, le=3600, description="Seconds that it may take.")]
Output = Annotated[
    str | None, Field(description="A file within the root in which the result is kept.")
]
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


async def predict(
    ctx: ToolContext,
    pipeline: PipelineArgument = ".",
    input: Annotated[
        dict[str, Any],
        Field(description='The fields of predict(); a file as "@path" within the root.'),
    ] = {},  # noqa: B006 — never changed
    output: Output = None,
    seconds: Seconds = 300,
) -> Annotated[CallToolResult, Prediction]:
    """Run a request pipeline once, in a process of its own, on your input.

    Gives the value, or the events of one that streams; pictures and sound are shown. Next:
    `test`, `serve`, or `doctor`. For a live class: `run_live`.
    """
    bench = ctx.request_context.lifespan_context
    folder, target = bench.target(pipeline)
    kept = bench.output(output)
    with scratch() as place:
        document = await bench.document(
            ctx,
            "predict",
            target,
            *bench.arguments(input, Path(place)),
            "--json",
            *([] if kept is None else ["-o", str(kept)]),
            folder=folder,
            seconds=seconds,
            next_step="mend what it says, and call `predict` again; a live class is for "
            "`run_live`; `docs` explains",
        )
    return prediction(document, kept, output or "")


async def run_live(
    ctx: ToolContext,
    pipeline: PipelineArgument = ".",
    clip: Annotated[
        str | None,
        Field(description="A video within the root; none for a class with generate()."),
    ] = None,
    params: Annotated[dict[str, Any], Field(description="Its parameters at the start.")] = {},  # noqa: B006 — never changed
    duration: Annotated[
        float | None, Field(gt=0, le=600, description="End the stream after so many seconds.")
    ] = None,
    realtime: Annotated[
        bool, Field(description="Feed it as fast as it is shown, and drop what is late.")
    ] = False,
    output: Annotated[
        str | None, Field(description="A video within the root (.mp4) for what comes out.")
    ] = None,
    seconds: Seconds = 300,
) -> Annotated[CallToolResult, LiveRun]:
    """Run a live pipeline on a clip, with real encoding, and look at what comes out.

    Gives up to four pictures (first, middle, last, and the worst: the one that was waited for
    longest), figures, data records, events and errors. Next: look at them, mend the class, run
    it again; then `test` and `doctor`.
    """
    bench = ctx.request_context.lifespan_context
    folder, target = bench.target(pipeline)
    kept = bench.output(output)
    source = bench.path(clip) if clip is not None else None
    arguments = [] if source is None else ["-i", str(source)]
    for name, value in params.items():
        arguments += ["-p", f"{name}={json.dumps(value)}"]
    arguments += [] if duration is None else ["--seconds", f"{duration:g}"]
    arguments += ["--realtime"] if realtime else []
    arguments += [] if kept is None else ["-o", str(kept)]
    with scratch() as place:
        document = await bench.document(
            ctx,
            *("predict", target, "--json", "--pictures", place, *arguments),
            folder=folder,
            seconds=seconds,
            next_step="mend what it says, and call `run_live` again; a request class is for "
            "`predict`; `docs` explains",
            good=(0, 1),
        )
        return live_run(document, bench, kept)


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


def prediction(document: dict[str, Any], kept: Path | None, output: str) -> CallToolResult:
    blocks: list[ContentBlock] = []
    if document["kind"] == "file":
        data = kept.read_bytes() if kept else base64.b64decode(document["data"].partition(",")[2])
        block = media_block(data, document["media_type"])
        told = Prediction(
            kind="file",
            media_type=document["media_type"],
            bytes=document["bytes"],
            path=output,
            shortened=block is None and kept is None,
        )
        return answer(told, [] if block is None else [block])
    if document["kind"] == "events":
        value, cut = shortened(without_files(document["events"], blocks))
        events = value if isinstance(value, list) else [value]
        count = len(document["events"])
        told = Prediction(kind="events", events=events, count=count, path=output, shortened=cut)
        return answer(told, blocks)
    value, cut = shortened(without_files(document["value"], blocks))
    return answer(Prediction(kind="value", value=value, path=output, shortened=cut), blocks)


def live_run(document: dict[str, Any], bench: Workbench, kept: Path | None) -> CallToolResult:
    pictures = document["pictures"]

    def some(name: str) -> list[Any]:
        value, cut = shortened(document[name][:MOST_RECORDS])
        return [value] if cut else value

    told = LiveRun(
        well=document["well"],
        reason=document["reason"],
        seconds=document["seconds"],
        figures=document["figures"],
        pictures=[Picture.model_validate(each) for each in pictures],
        data=some("data"),
        events=some("events"),
        warnings=some("warnings"),
        errors=some("errors"),
        output=bench.root.shown(kept) if kept is not None and document["output"] else "",
    )
    return answer(told, [jpeg_block(Path(each["path"])) for each in pictures])


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
        predict, title="Run a pipeline once", annotations=ToolAnnotations(open_world_hint=False)
    ),
    made_tool(
        run_live, title="Run a live pipeline", annotations=ToolAnnotations(open_world_hint=False)
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
