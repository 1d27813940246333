"""Calling what is on the network: `call`."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated, Any

from mcp_types import CallToolResult, ContentBlock, ToolAnnotations
from pydantic import Field

from livepeer.runner.mcp.arguments import Output, Seconds
from livepeer.runner.mcp.results import (
    CapabilityAnswer,
    answer,
    media_block,
    shortened,
    without_files,
)
from livepeer.runner.mcp.workbench import ToolContext, failed, made_tool, scratch


async def call(
    ctx: ToolContext,
    capability: Annotated[str, Field(description="Its name, such as sentiment or org/app.")],
    input: Annotated[
        dict[str, Any],
        Field(
            description='Its fields, or the parameters of a live one; a file as "@path" within '
            "the root."
        ),
    ] = {},  # noqa: B006 — never changed
    clip: Annotated[
        str | None, Field(description="For a live one: a video within the root to send.")
    ] = None,
    live: Annotated[bool, Field(description="It is live: video in, video out.")] = False,
    output: Output = None,
    orch: Annotated[
        str | None, Field(description="URL of an orchestrator; default: LIVEPEER_ORCH_URL.")
    ] = None,
    max_price: Annotated[
        float, Field(ge=0, description="Wei a second that it may cost; 0: only free ones.")
    ] = 0,
    seconds: Seconds = 300,
) -> Annotated[CallToolResult, CapabilityAnswer]:
    """Call a capability of the network, as its callers do; needs livepeer-client.

    Only free ones are called unless max_price says what it may cost: the error tells the price.
    A live one gets `clip` and gives `output` (a video) and data records.
    """
    bench = ctx.request_context.lifespan_context
    if capability.startswith("-"):
        raise failed("nothing was called", "that is no name of a capability", "name one")
    kept = bench.output(output)
    where = ["--max-price", f"{max_price:g}", *([] if orch is None else ["--orch", orch])]
    with scratch() as folder:
        step = (
            "check name and orchestrator (`livepeer discover`); where it asks a price, ask the "
            "person, and call it with that max_price; without livepeer-client, install it"
        )
        if live or clip is not None:
            options = [] if clip is None else ["-i", str(bench.path(clip))]
            for name, value in input.items():
                options += ["-p", f"{name}={json.dumps(value)}"]
            options += [] if kept is None else ["-o", str(kept)]
            ended = await bench.livepeer(
                ctx,
                *("live", capability, *options, *where),
                folder=bench.root.path,
                seconds=seconds,
                next_step=step,
            )
            data = [json.loads(line) for line in ended.out.splitlines()[:20]]
            path = output if kept is not None and kept.exists() else ""
            told = CapabilityAnswer(
                capability=capability, path=path or "", data=data, said=ended.said[-2000:]
            )
            return answer(told)
        document = await bench.document(
            ctx,
            *("run", capability, "--json", *where),
            *bench.arguments(input, Path(folder)),
            *([] if kept is None else ["-o", str(kept)]),
            folder=bench.root.path,
            seconds=seconds,
            next_step=step,
        )
    return _answered(capability, document, kept, output or "")


def _answered(
    capability: str, document: dict[str, Any], kept: Path | None, output: str
) -> CallToolResult:
    blocks: list[ContentBlock] = []
    if document["kind"] == "file":
        data = kept.read_bytes() if kept else base64.b64decode(document["data"].partition(",")[2])
        kind = document["media_type"]
        block = media_block(data, kind)
        told = CapabilityAnswer(
            capability=capability, media_type=kind, bytes=len(data), path=output
        )
        return answer(told, [] if block is None else [block])
    value, cut = shortened(without_files(document["value"], blocks))
    return answer(
        CapabilityAnswer(capability=capability, value=value, path=output, shortened=cut), blocks
    )


TOOLS = (
    made_tool(call, title="Call a capability", annotations=ToolAnnotations(open_world_hint=True)),
)
