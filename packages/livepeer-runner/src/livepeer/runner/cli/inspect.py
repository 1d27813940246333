"""`livepeer inspect`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livepeer.runner.cli import options
from livepeer.runner.packaging.platform import PLATFORM
from livepeer.trickle.cli.console import emit, fail, is_terminal, note
from livepeer.trickle.text import printable

if TYPE_CHECKING:
    from livepeer.runner.packaging.inspect import InspectedImage

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer inspect docker.io/me/sentiment-livepeer-runner:1.0.0

livepeer inspect ghcr.io/me/sentiment --json | jq .pipeline.schema.input

livepeer inspect ghcr.io/me/sentiment --key cosign.pub"""


@app.command(epilog=EPILOG)
def inspect(
    image: Annotated[str, typer.Argument(help="registry/owner/name:tag, or @sha256:...")],
    platform: Annotated[
        str, typer.Option(help="Which image, where there is one for each platform.")
    ] = PLATFORM,
    plain_http: options.PlainHttp = False,
    key: Annotated[
        str | None, typer.Option(help="Verify that it was signed with this key, by cosign.")
    ] = None,
    identity: Annotated[
        str | None, typer.Option(help="Verify that it was signed by this identity (keyless).")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(help="Who vouches for the identity, such as an OIDC issuer's URL.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, also on a terminal.")] = False,
) -> None:
    """Show what a registry says of a pipeline's image: nothing is pulled.

    The digest is checked against what came; your `docker login` is used where one is asked for.
    With --key, or --identity and --issuer, the signature is verified, else the status is 5.
    """
    from livepeer.runner.packaging import signing
    from livepeer.runner.packaging.inspect import inspect as ask
    from livepeer.runner.packaging.inspect import verify
    from livepeer.runner.packaging.registry.answers import ImageNotFound, NotAllowed, RegistryError
    from livepeer.runner.packaging.registry.reference import ImageReference, InvalidReference

    if (identity is None) is not (issuer is None):
        raise typer.BadParameter("say both --identity and --issuer")
    signer = None
    if key is not None or identity is not None:
        signer = signing.ImageSigner(key, identity, issuer)
    try:
        found = asyncio.run(
            ask(ImageReference.parse(image), platform=platform, plain_http=plain_http)
        )
    except InvalidReference as error:
        fail(error, code=2)
    except ImageNotFound as error:
        fail(error, hint="A private image is shown after `docker login` only.", code=3)
    except NotAllowed as error:
        fail(error, code=4)
    except RegistryError as error:
        fail(error)
    problem = None
    if signer is not None:
        try:
            asyncio.run(verify(found, signer, plain_http=plain_http))
        except (signing.SigningError, RegistryError) as error:
            problem = str(error)
    verified = signer is not None and problem is None
    if json or not is_terminal():
        emit(document(found, verified=verified))
    else:
        _show(found, f"verified: {signer}" if verified else _unverified(found, problem))
    if problem is not None:
        fail(f"{image} is not verified: {problem}", code=5)
    if found.pipeline_error is not None:
        fail(f"{image}: {found.pipeline_error}")
    if found.pipeline is None:
        note("It says nothing of a pipeline: not made by `livepeer build`, or made by hand.")


def _unverified(image: InspectedImage, problem: str | None) -> str:
    if not image.signatures:
        return "no"
    return f"{image.signatures} signatures, not verified: {problem or 'name a key with --key'}"


def document(image: InspectedImage, *, verified: bool = False) -> dict[str, Any]:
    """What is printed for programs."""
    said = image.pipeline
    return {
        "reference": str(image.reference),
        "digest": image.digest,
        "pinned": image.pinned,
        "platform": image.platform,
        "platforms": list(image.platforms),
        "created": image.created,
        "size": image.size,
        "layers": [{"digest": layer.digest, "size": layer.size} for layer in image.layers],
        "user": image.user,
        "signatures": image.signatures,
        "signature_verified": verified,
        "pipeline": said
        and {
            "id": said.id,
            "version": said.version,
            "type": said.type,
            "sdk_version": said.sdk_version,
            "protocol": said.protocol,
            "capacity": said.capacity,
            "gpu": said.gpu,
            "schema_sha256": said.schema_sha256,
            "schema": said.schema,
        },
        "labels": image.labels,
    }


def _show(image: InspectedImage, signed: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a digest that is cut is none

    def row(name: str, value: object) -> None:
        if value not in (None, "", ()):
            table.add_row(Text(name, style="bold"), Text(printable(str(value), lines=True)))

    if (said := image.pipeline) is not None:
        row("pipeline", " ".join(filter(None, (said.id, said.version))))
        row("type", said.type)
        row("sdk", said.sdk_version)
        row("protocol", said.protocol)
        row("capacity", said.capacity)
        row("gpu", said.gpu)
        if said.schema is not None:
            for side in ("input", "output"):
                part = said.schema.get(side)
                fields = part.get("properties") if isinstance(part, dict) else None
                if isinstance(fields, dict):
                    row(side, ", ".join(map(str, fields)))
        row("schema", said.schema_sha256 and f"sha256:{said.schema_sha256}")
    row("image", image.reference)
    row("digest", image.digest)
    row("pinned", image.pinned)
    row("platform", ", ".join(image.platforms))
    row("size", f"{image.size / 1e6:.1f} MB in {len(image.layers)} layers")
    row("user", image.user or "root")
    row("created", image.created)
    row("signed", signed)
    Console().print(table)
