"""`livepeer dev`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from livepeer.runner.cli import options
from livepeer.trickle.cli.console import note, writable

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer dev

livepeer dev sentiment.py -i text="I love it"

livepeer dev live.py --input clip.mp4 --output out.mp4 -p u=90

livepeer dev sentiment.py tint.py

livepeer dev sentiment.py --paid

The network is local, free, in memory, and open to this machine only. With --input, the exit code
is that of the call (see `livepeer run --help`); else 0 after Ctrl-C."""


@app.command(epilog=EPILOG)
def dev(
    pipelines: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PIPELINE]...",
            help="pipeline.py, pipeline.py:Class, module:Class, livepeer.yaml or a folder; several "
            "share the network. Without any: livepeer.yaml or pipeline.py here.",
        ),
    ] = None,
    input: Annotated[
        list[str] | None,
        typer.Option(
            "-i",
            "--input",
            metavar="K=V|CLIP",
            help="Make one call with this input, as `livepeer run` or `livepeer live` takes it, "
            "and end.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", callback=writable, help="Where the call's result goes."),
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", metavar="K=V", help="A live parameter of the call."),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds", min=0, help="End a live call after so long; one that generates needs it."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="The pipeline's (the first one's); default: 8000, or a free one where that is "
            "taken. 0 takes a free one.",
        ),
    ] = None,
    orch_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The orchestrator's; default: 8935, ...")
    ] = None,
    gateway_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The gateway's; default: 8937, ...")
    ] = None,
    play_port: options.PlaygroundPort = None,
    open_page: Annotated[
        bool,
        typer.Option(
            "--open/--no-open",
            help="Open the playground in your browser (only from a terminal on a desktop).",
        ),
    ] = True,
    tls: Annotated[
        bool, typer.Option(help="The orchestrator serves HTTPS, as a real one does.")
    ] = True,
    paid: Annotated[
        bool,
        typer.Option(
            "--paid",
            help="Calls cost test money: the orchestrator asks to be paid, as on a chain, and a "
            "signer pays. The price is LIVEPEER_APP_PRICE (USD), else 0.01728 an hour.",
        ),
    ] = False,
) -> None:
    """Run a local network with your pipeline on it: orchestrator, gateway, reload on save.

    Opens a page on which you see it work, prints the lines to call it from Python, curl and the
    shell, then one line for each event.
    """
    options.extra_dev("livepeer dev", "cryptography", "watchfiles")
    with options.explained():
        from livepeer.runner.packaging.load import locate

        references = [locate(each) for each in pipelines or (None,)]
    for reference in references:
        options.checked(reference, stop=False)  # saving a file may mend it
    from livepeer.runner.cli.dev.call import ClientCall, find_client
    from livepeer.runner.cli.dev.session import Ports, run
    from livepeer.runner.cli.page import PORT, Page, can_open
    from livepeer.runner.playground.network import find_caller

    if (output or params) and not (input or seconds):
        raise typer.BadParameter(
            "belongs to a call: say --input too, or --seconds for a class that generates",
            param_hint="-o, -p",
        )
    call = None
    if input or seconds:
        if len(references) > 1:
            raise typer.BadParameter("a call is made to one pipeline", param_hint="--input")
        find_client()
        call = ClientCall(tuple(input or ()), output, tuple(params or ()), seconds)
    ports = Ports(
        options.port(port, 8000, "--port"),
        options.port(orch_port, 8935, "--orch-port"),
        options.port(gateway_port, 8937, "--gateway-port"),
    )
    page = None
    opening = find_caller() if paid else None
    if call is None and paid and opening is None:
        note("no playground: calls that cost are made by livepeer-client, which is not installed")
    elif call is None:
        port_of_page = options.port(play_port, PORT, "--play-port")
        page = Page(port=port_of_page, opens=open_page and can_open())
    network = run(references, ports, tls=tls, call=call, page=page, paid=paid, opening=opening)
    raise typer.Exit(asyncio.run(network))
