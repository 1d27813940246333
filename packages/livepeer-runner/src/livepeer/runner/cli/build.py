"""`livepeer build`."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livepeer.runner.cli import options
from livepeer.runner.packaging.platform import PLATFORM
from livepeer.trickle.cli.console import emit, emit_text, fail, is_terminal, note, working

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from livepeer.runner.packaging.build import Result
    from livepeer.runner.packaging.engine import ContainerEngine
    from livepeer.runner.packaging.project import Project

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer build

livepeer build --tag ghcr.io/me/sentiment-livepeer-runner:1.0.0

livepeer build --dry-run

HF_TOKEN=... livepeer build --secret HF_TOKEN"""

Tag = Annotated[
    str | None,
    typer.Option(
        "--tag",
        "-t",
        help="Name of the image. Without it: `image` of livepeer.yaml.",
    ),
]
EngineName = Annotated[
    str | None,
    typer.Option("--engine", help="docker, podman or buildah. Without it: the first that works."),
]
Platform = Annotated[str, typer.Option(help="Platform of the image.")]
Sdk = Annotated[
    str | None,
    typer.Option(
        "--sdk",
        envvar="LIVEPEER_SDK",
        help="Where the image gets the SDK from: `index`, or a folder with its wheels. Without it: "
        "what it was installed from here.",
    ),
]
SecretNames = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        help="A variable of this environment for prepare_models(); no layer keeps its value.",
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Build every layer anew.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the builder's own output.")]


@app.command(epilog=EPILOG)
def build(
    pipeline: options.Target = None,
    tag: Tag = None,
    engine: EngineName = None,
    platform: Platform = PLATFORM,
    sdk: Sdk = None,
    secret: SecretNames = None,
    no_cache: NoCache = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the Dockerfile, and build nothing.")
    ] = False,
    eject: Annotated[
        Path | None,
        typer.Option("--eject", help="Write the Dockerfile and its context into a new folder."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Make a container image of a pipeline: no Dockerfile is needed.

    Layers come in the order in which they change, so that a change of code rebuilds in seconds. The
    schema is read inside the image, and stands in its labels.
    """
    from livepeer.runner.packaging import build as packaging
    from livepeer.runner.packaging.engine import ContainerEngine
    from livepeer.runner.packaging.load import locate
    from livepeer.runner.packaging.project import Project

    with explained():
        reference = locate(pipeline)
        project = Project.of(reference)
        options.checked(reference)
        name = packaging.image_name(project, tag)
        if dry_run or eject is not None:
            with packaging.context(
                project, platform=platform, sdk=sdk, secrets=tuple(secret or ())
            ) as prepared:
                for warning in prepared.warnings:
                    note(f"warning: {warning}")
                if eject is None:
                    emit_text(prepared.dockerfile, end="")
                    return
                _eject(prepared.folder, eject)
            note(f"-> {eject}: docker build -t {name} {eject}")
            return
        found = ContainerEngine.find(engine)
        result = run(
            project,
            found,
            name,
            platform=platform,
            sdk=sdk,
            secrets=secret,
            cache=not no_cache,
            verbose=verbose,
        )
    if is_terminal():
        note(
            f"{result.tag} is built after {result.image.seconds:.1f} s by {found.name}: "
            f"{result.image.reused} of {result.image.steps} steps were there already"
        )
        note(f"-> docker run --rm -p 8000:8000 {result.tag}")
    else:
        emit(document(result))


def document(result: Result) -> dict[str, object]:
    """What is printed for programs."""
    return {
        "tag": result.tag,
        "image_id": result.image.id,
        "seconds": round(result.image.seconds, 2),
        "steps": result.image.steps,
        "steps_reused": result.image.reused,
        "labels": result.labels,
        "packages": result.locked.versions,
    }


def run(
    project: Project,
    engine: ContainerEngine,
    tag: str,
    *,
    platform: str,
    sdk: str | None,
    secrets: list[str] | None,
    cache: bool,
    verbose: bool,
) -> Result:
    """Build, with what is being done on the terminal."""
    from livepeer.runner.packaging import build as packaging

    values = {}
    for name in secrets or ():
        if not os.environ.get(name):
            raise typer.BadParameter(f"{name} is not set here", param_hint="--secret")
        values[name] = os.environ[name]
    if (why := engine.reproducible) is not None:
        note(f"not reproducible with this builder: {why}")
    with shown(tag, verbose) as say:
        return packaging.build(
            project,
            engine,
            tag,
            platform=platform,
            sdk=sdk,
            secrets=values,
            cache=cache,
            say=say,
            warn=lambda text: note(f"warning: {text}"),
        )


@contextmanager
def shown(tag: str, verbose: bool) -> Iterator[Callable[[str], None]]:
    """Where an engine's lines go: to the terminal, or one by one onto a line of progress; where
    that is not seen, only the steps."""
    from livepeer.runner.packaging.engine_output import is_step

    if verbose:
        yield note
        return
    with working(tag) as tell:

        def say(text: str) -> None:
            if sys.stderr.isatty() or is_step(text):
                tell(text[:100], 0, 0)

        yield say


@contextmanager
def explained() -> Iterator[None]:
    """What keeps an image from being built ends the command: with the failing step's own output,
    the line of `livepeer.yaml` that caused it, and what to do."""
    from livepeer.runner.packaging import dockerfile
    from livepeer.runner.packaging.engine import EngineError, StepFailed
    from livepeer.runner.packaging.project import ProjectError
    from livepeer.runner.packaging.requirements import RequirementsError

    # A CI that is told to stop sends this: the engine's command ends as at Ctrl-C.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with options.explained():
            yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        place = os.path.dirname(error.filename or "") or tempfile.gettempdir()
        fail(f"the disk is full at {place}: TMPDIR names another place for the build's context")
    except ProjectError as error:
        fail(error, code=2)
    except RequirementsError as error:
        fail(f"the packages cannot be had: {error}", hint=what_to_do(str(error)))
    except StepFailed as error:
        note(error.output)
        cause, advice = error.cause, dockerfile.advice(error.output)
        hints = [f"It comes from {cause}." if cause else "", f"{advice}." if advice else ""]
        fail(error, hint=" ".join(filter(None, hints)) or None)
    except EngineError as error:
        fail(error)
    finally:
        signal.signal(signal.SIGTERM, before)


def what_to_do(refused: str) -> str:
    """About packages that uv could not choose."""
    if re.search(r"(no version of livepeer-|livepeer-(runner|trickle) was not found)", refused):
        return (
            "The index has no such SDK: --sdk FOLDER (LIVEPEER_SDK) names a folder with the wheels "
            "of livepeer-runner and livepeer-trickle."
        )
    return "See `python` in livepeer.yaml."


def _eject(context: Path, folder: Path) -> None:
    import shutil

    if folder.exists() and any(folder.iterdir()):
        raise typer.BadParameter(f"{folder} is not empty", param_hint="--eject")
    shutil.copytree(context, folder, dirs_exist_ok=True)
