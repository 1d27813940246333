"""What commands have in common: their options, and how a pipeline is had."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from livepeer.trickle.cli.console import fail, note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livepeer.runner.author.pipeline import PipelineBase
    from livepeer.runner.packaging.load import Reference

Target = Annotated[
    str | None,
    typer.Argument(
        metavar="PIPELINE",
        help="pipeline.py, pipeline.py:Class, module:Class, livepeer.yaml or a folder. "
        "Without it: livepeer.yaml or pipeline.py here.",
    ),
]
AnyTarget = Annotated[
    str | None,
    typer.Argument(
        metavar="TARGET",
        help="The URL of a running container, an image (me/app:1.0.0), or a pipeline: "
        "pipeline.py:Class, a folder. Without it: the pipeline here. With --orch: the name of "
        "an app or a capability.",
    ),
]
ThroughOrchestrator = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Call it through this orchestrator, as callers do."),
]
RunEngine = Annotated[
    str | None, typer.Option(help="docker or podman, for images; default: what there is.")
]
PlainHttp = Annotated[
    bool, typer.Option("--plain-http", help="The registry speaks no TLS, and is not here.")
]
PlaygroundPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="The playground's; default: 8940, ...")
]
AsJson = Annotated[bool, typer.Option("--json", help="One document, for machines.")]


@contextmanager
def explained() -> Iterator[None]:
    """A pipeline that cannot be had ends the command: its traceback, then one line."""
    from livepeer.runner.exceptions import SettingsError, SignatureError
    from livepeer.runner.packaging.load import LoadError

    try:
        yield
    except LoadError as error:
        if error.trace:
            note(error.trace)
        fail(error, code=2 if error.usage else 1)
    except SignatureError as error:
        fail(error)
    except SettingsError as error:
        fail("\n".join(error.problems), code=2, explain=error.code)


def pipeline(target: str | Reference | None) -> type[PipelineBase]:
    """The class that the command was given, or the end of the command."""
    from livepeer.runner.packaging.load import load

    with explained():
        return load(target)


def checked(reference: Reference, *, stop: bool = True) -> None:
    """Show once what the text of a pipeline shows to be wrong with it. With `stop` an error ends
    the command."""
    from livepeer.runner.check import check_source

    findings = check_source(reference)
    if not findings.errors and not findings.warnings:
        return
    from livepeer.runner.check.report import plain

    for one in (*findings.errors, *findings.warnings):
        note(plain(one))
    if stop and findings.errors:
        count = len(findings.errors)
        what = "1 mistake keeps" if count == 1 else f"{count} mistakes keep"
        fail(
            f"{what} it from running",
            explain=findings.errors[0].code,
        )


def extra_dev(command: str, *modules: str) -> None:
    """End the command where a module that only the extra `dev` brings is missing."""
    if missing := [name for name in modules if find_spec(name) is None]:
        fail(f"{command} needs {', '.join(missing)}: pip install 'livepeer-runner[dev]'", code=2)


def free_port(host: str, port: int, option: str) -> None:
    """End the command where something else listens there, before anything is begun."""
    from livepeer.runner.serving.listener import bind

    try:
        bind(host, port).close()
    except OSError as error:
        fail(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            hint=f"Say {option} with another one; 0 takes one that is free.",
        )


def port(given: int | None, default: int, option: str) -> int:
    """The port to listen on at loopback: one that was asked for has to be free; where the default
    is taken, any (0) will do."""
    from livepeer.runner.serving.listener import bind

    if given is not None:
        free_port("127.0.0.1", given, option)
        return given
    try:
        bind("127.0.0.1", default).close()
    except OSError:
        return 0
    return default
