"""`livepeer serve`."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Annotated

import typer

from livepeer.runner import settings as environment
from livepeer.runner.cli import init_process, options
from livepeer.trickle.cli.console import fail

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer serve

livepeer serve pipeline.py:Sentiment --port 9000 --reload

livepeer serve --playground

LIVEPEER_ORCH_URL=https://orch:8935 LIVEPEER_ORCH_SECRET_FILE=secret livepeer serve

"""


def _variables() -> str:
    """The table at the head of `settings`, a line for each variable."""
    rows = [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        for line in (environment.__doc__ or "").splitlines()
        if line.startswith("| `")
    ]
    lines = [
        f"{name}{f' (or {older})' if older else ''}: {meaning}"
        + (f" [dim](default: {default})[/dim]" if default else "")
        for name, older, default, meaning in rows
    ]
    return "\n\n".join(
        ["The environment says where it is offered, for what price, and the rest:", *lines]
    )


@app.command(epilog=EPILOG + _variables())
def serve(
    pipeline: options.Target = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: HOST, else 0.0.0.0.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Default: PORT, else 8000; 0 takes a free one."),
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew whenever a file is saved.")
    ] = False,
    playground: Annotated[
        bool, typer.Option("--playground", help="Serve a page beside it on which you see it work.")
    ] = False,
    play_port: options.PlaygroundPort = None,
    play_host: Annotated[
        str,
        typer.Option(
            help="Where the playground listens. Elsewhere than on loopback, whoever has its "
            "address may use it, and without https there is no camera."
        ),
    ] = "127.0.0.1",
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the playground in your browser.")
    ] = True,
) -> None:
    """Serve a pipeline over HTTP until Ctrl-C, and offer it where the environment says."""
    init_process.split()
    if reload:
        options.extra_dev("livepeer serve --reload", "watchfiles")
    with options.explained():
        from livepeer.runner.settings import Settings

        settings = Settings.from_env()
    settings = dataclasses.replace(
        settings,
        host=settings.host if host is None else host,
        port=settings.port if port is None else port,
    )
    options.free_port(settings.host, settings.port, "--port")
    with options.explained():
        from livepeer.runner.packaging.load import locate

        reference = locate(pipeline)
    options.checked(reference, stop=not reload)
    if playground:
        if settings.registration is not None:
            fail(
                "--playground is for a container that is registered nowhere, and this one takes "
                "calls of its orchestrators alone",
                hint="Unset LIVEPEER_ORCH_URL, or use livepeer dev or livepeer play.",
                code=2,
            )
        from livepeer.runner.cli.page import PORT, Page, can_open
        from livepeer.runner.cli.served_page import serve_with_page

        page_port = options.port(play_port, PORT, "--play-port")
        page = Page(play_host, page_port, opens=open_page and can_open())
        raise typer.Exit(
            asyncio.run(
                serve_with_page(reference, settings.host, settings.port, page, watch=reload)
            )
        )
    if reload:
        from livepeer.runner.cli.reload import serve_reloading

        raise typer.Exit(asyncio.run(serve_reloading(reference, settings.host, settings.port)))
    from livepeer.runner.serving import server

    cls = options.pipeline(reference)
    try:
        server.serve(cls, settings)
    except SystemExit as error:
        if isinstance(error.code, str):
            fail(error.code)
        raise
