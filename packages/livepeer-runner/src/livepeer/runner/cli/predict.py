"""`livepeer predict`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from livepeer.runner.cli import options
from livepeer.trickle.cli.console import results_only, writable

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer predict -i text="I love it" -i top=3

livepeer predict upscale.py -i image=@cat.png -o big.png

echo '{"text": "I love it"}' | livepeer predict -i -

livepeer predict live.py -i in.mp4 -o out.mp4 -p u=90

livepeer predict live.py -i in.mp4 --pictures seen --json | jq .figures

Exit codes: 0 done, 1 the pipeline failed, 2 wrong usage or input, 130 interrupted."""


@app.command(epilog=EPILOG)
def predict(
    pipeline: options.Target = None,
    input: Annotated[
        list[str] | None,
        typer.Option(
            "-i",
            "--input",
            metavar="K=V",
            help="A field: K=TEXT, K=JSON, or K=@FILE. @FILE alone is all of it, as JSON; - is "
            "stdin. For a live class: the clip.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            callback=writable,
            help="Write the result here. For a live class: a video by its ending (.mp4, .mkv, "
            ".ts), or its data records (.jsonl).",
        ),
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", metavar="K=V", help="A live parameter."),
    ] = None,
    realtime: Annotated[
        bool,
        typer.Option("--realtime", help="Live: feed the clip as fast as it is shown, and drop."),
    ] = False,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="Live: end after so long.")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            "--pictures",
            help="Live: a folder for a few pictures of what comes out, as JPEG: the first, the "
            "middle, the last, and the one that was waited for longest.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One document, for machines: the result and how it went.")
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show the logs.")] = False,
) -> None:
    """Run a pipeline once, here, on your input; nothing is served.

    Prints the result: JSON on a pipe, pretty on a terminal, events as they come.
    """
    with results_only(), options.explained():
        cls = options.pipeline(pipeline)
        from livepeer.runner import logs
        from livepeer.runner.author.pipeline import Pipeline
        from livepeer.runner.settings import Settings

        settings = Settings.from_env()
        logs.configure(settings.log_format, settings.log_level if verbose else "warning")
        run: Any
        if issubclass(cls, Pipeline):
            if params:
                raise typer.BadParameter("is for a live class; write -i", param_hint="-p")
            if pictures is not None:
                raise typer.BadParameter("is for a live class", param_hint="--pictures")
            from livepeer.runner.cli.predict_batch import predict as run

            asyncio.run(run(cls, settings, input or [], output, as_json=as_json))
        else:
            from livepeer.runner.cli.predict_live import predict as run

            run(
                cls,
                input or [],
                output,
                params or [],
                realtime=realtime,
                seconds=seconds,
                pictures=pictures,
                as_json=as_json,
            )
