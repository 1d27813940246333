"""`livepeer check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from livepeer.runner.cli import options
from livepeer.trickle.cli.console import emit, results, results_only

if TYPE_CHECKING:
    from livepeer.runner.check import Findings

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer check

livepeer check pipeline.py:Sentiment --strict

livepeer check --json | jq .findings

livepeer explain blocking_call

A line that is meant as it is says so: `time.sleep(1)  # livepeer: ignore[blocking_call]`

Exit codes: 0 no errors (--strict: and no warnings), 1 some, 2 there is nothing to be checked."""


@app.command(epilog=EPILOG)
def check(
    pipeline: options.Target = None,
    as_json: options.AsJson = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")
    ] = False,
    by_import: Annotated[
        bool,
        typer.Option(
            "--import/--no-import", help="Import it too, in a process of its own, to judge types."
        ),
    ] = True,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for that import.")] = 60.0,
) -> None:
    """Find what is wrong with a pipeline before it runs: each mistake with its line and its fix.

    Nothing is served, no model is loaded, and what the pipeline prints goes nowhere.
    """
    from livepeer.runner.check import check as examine

    with results_only(), options.explained():
        findings = examine(pipeline, by_import=by_import, seconds=timeout)
        if as_json:
            emit(findings.as_json())
        else:
            _show(findings)
    if findings.errors or (strict and findings.warnings):
        raise typer.Exit(1)


def _show(findings: Findings) -> None:
    from rich.console import Console

    from livepeer.runner.check.report import lines

    console = Console(file=results(), highlight=False, soft_wrap=True)
    for line in lines(findings):
        console.print(line)
