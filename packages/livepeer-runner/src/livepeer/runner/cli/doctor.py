"""`livepeer doctor`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livepeer.runner.cli import options
from livepeer.trickle.cli.console import emit, fail, note, results_only

if TYPE_CHECKING:
    from livepeer.runner.doctor.diagnosis import Check, Diagnosis
    from livepeer.runner.doctor.examination import Examination

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer doctor

livepeer doctor pipeline.py:Sentiment --quick

livepeer doctor http://127.0.0.1:8000 --route reverse --input '{"text": "abc"}'

livepeer doctor ghcr.io/me/sentiment-livepeer-runner:1.0.0 --attack

livepeer doctor me/sentiment --orch https://orchestrator:8935

livepeer doctor --only live --json | jq .summary

livepeer doctor --list

Exit status: 0 where nothing must be mended, 1 where something must (with --strict: or should),
2 where no examination was possible."""


@app.command(epilog=EPILOG)
def doctor(
    target: options.AnyTarget = None,
    route: Annotated[
        str | None,
        typer.Option(help="Path of its jobs; default: predict, where it has /schema."),
    ] = None,
    input: Annotated[
        str | None,
        typer.Option(
            "-i", "--input", metavar="JSON|@FILE", help="A valid job; default: of its schema."
        ),
    ] = None,
    failing: Annotated[
        str | None,
        typer.Option(metavar="JSON|@FILE", help="A job that is valid, and fails at work."),
    ] = None,
    overlong: Annotated[
        str | None,
        typer.Option(metavar="JSON|@FILE", help="A job that takes longer than its own limit."),
    ] = None,
    orch: options.ThroughOrchestrator = None,
    engine: options.RunEngine = None,
    capacity: Annotated[
        int | None, typer.Option(min=1, help="Jobs at once; default: what it tells itself.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="LIVEPEER_DOCTOR_TOKEN", help="What it wants as its bearer token."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="A group or a check; may come again.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(help="A group or a check to leave out; may come again.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out what takes over ten seconds.")
    ] = False,
    attack: Annotated[
        bool, typer.Option("--attack", help="Abuse it too, with bounded force; loopback only.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 for what should be mended, too.")
    ] = False,
    as_json: options.AsJson = False,
    list_checks: Annotated[bool, typer.Option("--list", help="List the checks and end.")] = False,
) -> None:
    """Examine a container, whoever made it: is it what orchestrators and their callers need?"""
    from livepeer.runner.doctor.examination import CHECKS, CannotExamine, Examination
    from livepeer.runner.targets.reference import TargetError

    if list_checks:
        _list(CHECKS, as_json)
        return
    examination = Examination(
        route=route,
        input=_input(input, "--input"),
        failing=_input(failing, "--failing"),
        overlong=_input(overlong, "--overlong"),
        capacity=capacity,
        token=token,
        only=only or (),
        skip=skip or (),
        quick=quick,
        attack=attack,
    )
    with results_only():
        try:
            diagnosis = asyncio.run(_examine(target, examination, orch, engine))
        except (CannotExamine, TargetError) as error:
            fail(error, code=2)
        if as_json:
            emit(diagnosis.as_json())
        else:
            _show(diagnosis)
    if diagnosis.count("problem", None if strict else "must"):
        raise typer.Exit(1)


async def _examine(
    target: str | None, examination: Examination, orch: str | None, engine: str | None
) -> Diagnosis:
    from livepeer.runner.targets.hosting import opened
    from livepeer.runner.targets.reference import offered_target, target_of

    def say(check: Check) -> None:
        note(f"{check.id}: {check.title}")

    examination.checks()  # a name that is wrong is refused before a model is loaded
    if orch is not None:
        return await examination.through(*offered_target(orch, target), say)
    reference = target_of(target)
    if reference.kind != "url":
        note(f"{'serving' if reference.kind == 'class' else 'running'} {reference.text}")
    async with opened(reference, engine=engine) as there:
        return await examination.of(there, reference.text, say)


def _input(given: str | None, option: str) -> bytes | None:
    if given is None or not given.startswith("@"):
        return None if given is None else given.encode()
    try:
        return Path(given[1:]).read_bytes()
    except OSError as error:
        raise typer.BadParameter(
            f"{given[1:]} cannot be read: {error.strerror}", param_hint=option
        ) from None


def _show(diagnosis: Diagnosis) -> None:
    from rich.console import Console

    from livepeer.runner.doctor.report import lines
    from livepeer.trickle.cli.console import results

    console = Console(file=results(), highlight=False, soft_wrap=True)
    for line in lines(diagnosis):
        console.print(line)


def _list(checks: tuple[Check, ...], as_json: bool) -> None:
    from livepeer.trickle.cli.console import emit_text

    if as_json:
        keys = ("id", "title", "level", "need", "by", "clause", "slow")
        emit([{key: getattr(check, key) for key in keys} for check in checks])
        return
    for check in checks:
        slow = " (slow)" if check.slow else ""
        emit_text(f"{check.id:<27} {check.level:<7} {check.title}{slow}")
