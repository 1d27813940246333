"""`livepeer explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from livepeer.trickle.cli.console import emit, emit_text, fail
from livepeer.trickle.cli.explanations import catalogue, nearest

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer explain over_capacity

livepeer explain blocking_call --json

livepeer explain

Exit codes: 0 explained, 2 there is no such code."""


@app.command(epilog=EPILOG)
def explain(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE",
            help="As an error says it, or `type` in an answer; without it: all of them.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One document, for machines.")] = False,
) -> None:
    """Explain an error: its cause, what to do about it, an example."""
    known = catalogue()
    if code is None:
        if as_json:
            emit([one.as_document() for one in known.values()])
            return
        edge = max(map(len, known), default=0) + 2
        for one in sorted(known.values(), key=lambda one: one.code):
            emit_text(f"{one.code:<{edge}}{one.title}")
        return
    found = known.get(code.strip().strip("[]`'\"").lower())
    if found is None:
        near = nearest(code.lower())
        hint = f"Did you mean {', '.join(near)}?" if near else "A pipeline may have its own."
        fail(
            f"{code!r} is no code of this SDK",
            hint=f"{hint} `livepeer explain` lists them.",
            code=2,
        )
    if as_json:
        emit(found.as_document())
    else:
        emit_text(found.as_text())
