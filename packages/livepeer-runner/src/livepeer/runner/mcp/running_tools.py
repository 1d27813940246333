"""Running a pipeline once, and looking at what comes out: `predict`, `run_live`."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated, Any

from mcp_types import CallToolResult, ContentBlock, ToolAnnotations
from pydantic import Field

from livepeer.runner.mcp.arguments import Output, PipelineArgument, Seconds
from livepeer.runner.mcp.results import (
    MOST_RECORDS,
    LiveRun,
    Picture,
    Prediction,
    answer,
    jpeg_block,
    media_block,
    shortened,
    without_files,
)
from livepeer.runner.mcp.workbench import ToolContext, Workbench, made_tool, scratch


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
        predict, title="Run a pipeline once", annotations=ToolAnnotations(open_world_hint=False)
    ),
    made_tool(
        run_live, title="Run a live pipeline", annotations=ToolAnnotations(open_world_hint=False)
    ),
)
