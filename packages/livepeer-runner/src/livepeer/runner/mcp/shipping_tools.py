"""Publishing a pipeline, and calling what is published: `build`, `push`, `call`."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated, Any

from mcp.server.mcpserver import Elicit, Resolve
from mcp_types import CallToolResult, ContentBlock, ToolAnnotations
from pydantic import BaseModel, Field

from livepeer.runner.mcp.arguments import Output, PipelineArgument, Seconds
from livepeer.runner.mcp.results import (
    BuiltImage,
    CapabilityAnswer,
    PublishedImage,
    answer,
    media_block,
    shortened,
    without_files,
)
from livepeer.runner.mcp.workbench import ToolContext, failed, made_tool, scratch

ImageName = Annotated[
    str | None,
    Field(
        description="Name of the image, such as ghcr.io/me/hello-livepeer-runner; default: "
        "`image` of livepeer.yaml."
    ),
]


class Confirm(BaseModel):
    """A person's answer."""

    publish: bool = Field(description="Publish it under that name.")


async def build(
    ctx: ToolContext,
    pipeline: PipelineArgument = ".",
    image: ImageName = None,
    dry_run: Annotated[bool, Field(description="Show the Dockerfile, and build nothing.")] = True,
    seconds: Seconds = 3600,
) -> BuiltImage:
    """Make a container image of a pipeline; no Dockerfile is needed.

    At first it only shows the Dockerfile; with dry_run=false it builds, which needs docker,
    podman or buildah, and minutes. Next: `push`.
    """
    bench = ctx.request_context.lifespan_context
    folder, target = bench.target(pipeline)
    options = [] if image is None else ["--tag", image]
    if dry_run:
        shown = await bench.livepeer(
            ctx,
            *("build", target, "--dry-run", *options),
            folder=folder,
            seconds=seconds,
            next_step="mend livepeer.yaml; `docs` has a page on images",
        )
        return BuiltImage(
            dry_run=True, dockerfile=shown.out[:20_000], next="`build` with dry_run=false"
        )
    document = await bench.document(
        ctx,
        *("build", target, "--verbose", *options),
        folder=folder,
        seconds=seconds,
        next_step="mend what the failing step says; without an engine, dry_run=true shows the "
        "Dockerfile",
    )
    return BuiltImage(
        dry_run=False,
        tag=document["tag"],
        image_id=document["image_id"] or "",
        seconds=document["seconds"],
        packages=len(document["packages"]),
        next="`push`",
    )


async def plan(ctx: ToolContext, pipeline: str, image: str | None) -> dict[str, Any]:
    bench = ctx.request_context.lifespan_context
    folder, target = bench.target(pipeline)
    found: dict[str, Any] = await bench.document(
        ctx,
        *("push", target, "--dry-run", *([] if image is None else ["--tag", image])),
        folder=folder,
        seconds=120,
        next_step="name an image that you may push to (`image`, or `image:` in livepeer.yaml), "
        "and `docker login` its registry",
    )
    return found


async def permission(
    ctx: ToolContext, pipeline: str, image: str | None, publish: bool, confirm: bool
) -> Confirm | Elicit[Confirm]:
    """A person's yes: asked for, or given with the exact name where nobody can be asked."""
    if not publish:
        return Confirm(publish=False)
    planned = await plan(ctx, pipeline, image)
    name = planned["image"] + (f":{planned['tag']}" if planned["tag"] else "")
    if confirm:
        if image not in (name, planned["image"]):
            raise failed(
                "nothing was published",
                f"with confirm=true the exact name has to be said: image={name!r}",
                "ask the person whether that name is right, then call it so",
            )
        return Confirm(publish=True)
    capabilities = ctx.client_capabilities
    if capabilities is None or capabilities.elicitation is None:
        raise failed(
            "nothing was published",
            "this client cannot ask its person",
            f"ask the person yourself, then call `push` with publish=true, confirm=true, "
            f"image={name!r}",
        )
    last = planned["last_version"] or "none"
    return Elicit(f"Publish {name}? Anybody can pull it. Version there now: {last}.", Confirm)


async def push(
    ctx: ToolContext,
    allowed: Annotated[Confirm, Resolve(permission)],
    pipeline: PipelineArgument = ".",
    image: ImageName = None,
    publish: Annotated[
        bool, Field(description="Build and publish it; a person is asked first.")
    ] = False,
    confirm: Annotated[
        bool,
        Field(description="A person has said yes to exactly this `image`: nobody is asked."),
    ] = False,
    seconds: Seconds = 3600,
) -> PublishedImage:
    """Publish a pipeline's image under its name, with this machine's `docker login`.

    At first it only asks the registry and says what would be published. With publish=true it
    builds and publishes, after a person's yes. Next: operators run the reference; `call` it.
    """
    bench = ctx.request_context.lifespan_context
    if not allowed.publish:
        if publish:
            raise failed("nothing was published", "the person said no", "ask what should change")
        planned = await plan(ctx, pipeline, image)
        return PublishedImage(
            published=False,
            image=planned["image"],
            tags=[planned["tag"]] if planned["tag"] else [],
            last_version=planned["last_version"] or "",
            next="`push` with publish=true",
        )
    folder, target = bench.target(pipeline)
    document = await bench.document(
        ctx,
        *("push", target, "--verbose", *([] if image is None else ["--tag", image])),
        folder=folder,
        seconds=seconds,
        next_step="mend what it says; nothing else was changed",
    )
    name = document["reference"].partition("@")[0]
    return PublishedImage(
        published=True,
        image=name,
        tags=document["tags"],
        reference=document["reference"],
        next=f"operators run it as {document['reference']}",
    )


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
    made_tool(build, title="Build an image", annotations=ToolAnnotations(destructive_hint=False)),
    made_tool(
        push,
        title="Publish an image",
        annotations=ToolAnnotations(destructive_hint=True, open_world_hint=True),
    ),
    made_tool(call, title="Call a capability", annotations=ToolAnnotations(open_world_hint=True)),
)
