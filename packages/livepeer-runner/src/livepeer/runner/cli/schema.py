"""`livepeer schema`."""

from __future__ import annotations

import dataclasses

import typer

from livepeer.runner.cli import options
from livepeer.trickle.cli.console import emit, results_only

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer schema

livepeer schema pipeline.py:Sentiment | jq .input.properties"""


@app.command(epilog=EPILOG)
def schema(pipeline: options.Target = None) -> None:
    """Print what a pipeline takes and gives, as JSON: the document that POST /schema answers."""
    with results_only(), options.explained():
        cls = options.pipeline(pipeline)
        from livepeer.runner.serving.kinds import make_service
        from livepeer.runner.settings import Settings

        settings = dataclasses.replace(Settings.from_env(), registration=None)
        document = make_service(cls, settings).work.schema()
    emit(document)
