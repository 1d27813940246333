"""`livepeer schema`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from livepeer.runner.cli import options
from livepeer.trickle.cli.console import emit, results_only

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer schema

livepeer schema pipeline.py:Sentiment | jq .input.properties

livepeer schema --manifest > livepeer-yaml.json"""


@app.command(epilog=EPILOG)
def schema(
    pipeline: options.Target = None,
    manifest: Annotated[
        bool, typer.Option("--manifest", help="The JSON Schema of livepeer.yaml, for an editor.")
    ] = False,
) -> None:
    """Print what a pipeline takes and gives, as JSON: the document that POST /schema answers."""
    if manifest:
        from livepeer.runner.packaging.manifest import json_schema

        emit(json_schema())
        return
    with results_only(), options.explained():
        cls = options.pipeline(pipeline)
        from livepeer.runner.serving.kinds import make_service
        from livepeer.runner.settings import Settings

        settings = dataclasses.replace(Settings.from_env(), registration=None)
        document = make_service(cls, settings).work.schema()
    emit(document)
