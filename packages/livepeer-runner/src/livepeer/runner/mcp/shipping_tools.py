"""Publishing a pipeline: `build`, `push`."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import Elicit, Resolve
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field

from livepeer.runner.mcp.arguments import PipelineArgument, Seconds
from livepeer.runner.mcp.results import (
    BuiltImage,
    PublishedImage,
)
from livepeer.runner.mcp.workbench import ToolContext, failed, made_tool

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


TOOLS = (
    made_tool(build, title="Build an image", annotations=ToolAnnotations(destructive_hint=False)),
    made_tool(
        push,
        title="Publish an image",
        annotations=ToolAnnotations(destructive_hint=True, open_world_hint=True),
    ),
)
