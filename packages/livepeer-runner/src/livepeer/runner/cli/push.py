"""`livepeer push`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livepeer.runner.cli import build as building
from livepeer.runner.cli import options
from livepeer.runner.packaging.platform import PLATFORM
from livepeer.trickle.cli.console import emit, emit_text, fail, is_terminal, note

if TYPE_CHECKING:
    from livepeer.runner.packaging.push import Published

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer push

livepeer push --tag ghcr.io/me/sentiment-livepeer-runner

livepeer push --dry-run

livepeer push --print kubernetes --replicas 4 > sentiment.yaml"""


@app.command(epilog=EPILOG)
def push(
    pipeline: options.Target = None,
    tag: building.Tag = None,
    engine: building.EngineName = None,
    platform: building.Platform = PLATFORM,
    sdk: building.Sdk = None,
    secret: building.SecretNames = None,
    no_cache: building.NoCache = False,
    plain_http: options.PlainHttp = False,
    print_: Annotated[
        str | None,
        typer.Option(
            "--print",
            help="Print how it is run: docker, compose or kubernetes; or the runners.json entry of "
            "one that is listed by hand.",
        ),
    ] = None,
    replicas: Annotated[
        int,
        typer.Option(min=1, max=64, help="How many containers --print is to run, a GPU for each."),
    ] = 1,
    hub: Annotated[
        bool,
        typer.Option(
            "--hub",
            help="Set the repository's description and README on Docker Hub, with a personal "
            "access token (DOCKERHUB_USERNAME and DOCKERHUB_TOKEN, or docker login).",
        ),
    ] = False,
    sign: Annotated[
        str | None,
        typer.Option(
            help="Sign it with cosign: a key (a file, or cosign's own references; COSIGN_PASSWORD "
            "is its password), or `keyless`."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Ask the registry, say what would be published where, and build nothing.",
        ),
    ] = False,
    verbose: building.Verbose = False,
) -> None:
    """Build a pipeline's image and publish it, with your own `docker login`.

    The digest is read back from the registry; livepeer.lock keeps it. A version that would break
    those who call the last one is refused, unless its major version is a new one.
    """
    from livepeer.runner.packaging import push as pushing
    from livepeer.runner.packaging import signing
    from livepeer.runner.packaging.deploy import FORMS
    from livepeer.runner.packaging.engine import ContainerEngine
    from livepeer.runner.packaging.load import locate
    from livepeer.runner.packaging.lockfile import LockError
    from livepeer.runner.packaging.project import Project
    from livepeer.runner.packaging.registry.answers import NotAllowed, RegistryError
    from livepeer.runner.packaging.registry.reference import is_here

    if print_ is not None and print_ not in FORMS:
        raise typer.BadParameter(f"say {', '.join(FORMS)}", param_hint="--print")
    with building.explained():
        place = locate(pipeline)
        project = Project.of(place)
        options.checked(place)
        try:
            if sign is not None:
                signing.check(sign)
            reference = pushing.target(project, tag)
            named = tag or project.manifest.image or ""
            found = None if dry_run else ContainerEngine.find(engine)
            # Before the build, which takes long: whether the registry would have it at all.
            old = asyncio.run(pushing.last_published(reference, platform, plain_http=plain_http))
            if found is None:
                _plan(reference.name, reference.tag if pushing.has_tag(named) else None, old)
                return
            built = building.run(
                project,
                found,
                str(reference),
                platform=platform,
                sdk=sdk,
                secrets=secret,
                cache=not no_cache,
                verbose=verbose,
            )
            for change in pushing.check_evolution(old, built.schema):
                note(f"{change}")
            version = str(built.schema.get("version") or "0")
            tags = (reference.tag or "",) if pushing.has_tag(named) else (version, "latest")
            with building.shown(str(reference), verbose) as say:
                published = asyncio.run(
                    pushing.publish(
                        project,
                        found,
                        built,
                        reference,
                        tags,
                        platform=platform,
                        plain_http=plain_http,
                        say=say,
                    )
                )
        except (pushing.PushRefused, signing.SigningError) as error:
            fail(error, code=2)
        except NotAllowed as error:
            fail(error, code=4)
        except (RegistryError, LockError) as error:
            fail(error)
    if sign is not None:
        plain = plain_http or is_here(published.reference.registry)
        try:
            signing.sign(str(published.reference), sign, plain_http=plain)
        except signing.SigningError as error:
            fail(f"{published.reference} is published, and not signed: {error}")
        note(f"signed: livepeer inspect {published.reference} --key ... verifies it")
    if hub:
        from livepeer.runner.packaging.hub import describe

        note(asyncio.run(describe(published.reference, built.schema, project.folder)))
    _show(published, print_, replicas)


def _plan(name: str, tag: str | None, old: dict[str, Any] | None) -> None:
    """What would be published: under `tag`, or under the version of the class and `latest`."""
    last = None if old is None else str(old.get("version"))
    if not is_terminal():
        emit({"image": name, "tag": tag, "last_version": last})
        return
    tags = tag or "the version of the class, and latest"
    note(f"{name} would be published as {tags}; there now: {last or 'no version yet'}")


def _show(published: Published, form: str | None, replicas: int) -> None:
    from livepeer.runner.packaging.deploy import FORMS, Deployment
    from livepeer.runner.packaging.labels import PipelineLabels

    image = published.image
    said = image.pipeline or PipelineLabels()
    deployment = Deployment(
        str(published.reference),
        said.id or image.reference.repository.rpartition("/")[2],
        gpu=said.gpu == "true",
        replicas=replicas,
        live=said.type == "live",
        version=said.version or "",
        capacity=int(said.capacity or 1),
    )
    for line in published.changed:
        note(f"livepeer.lock: {line}")
    if form is not None:
        emit_text(deployment.text(form), end="")  # type: ignore[arg-type]
    elif is_terminal():
        note(f"{published.reference} is published as {', '.join(published.tags)}")
        note(f"-> capability {image.pinned}")
        emit_text(deployment.text("docker"), end="")
        note(f"Also as --print {', '.join(FORMS[1:])}")
    else:
        emit(_document(published) | {"run": {each: deployment.text(each) for each in FORMS}})


def _document(published: Published) -> dict[str, Any]:
    return {
        "reference": str(published.reference),
        "pinned": published.image.pinned,
        "digest": published.image.digest,
        "tags": list(published.tags),
        "changed": list(published.changed),
    }
