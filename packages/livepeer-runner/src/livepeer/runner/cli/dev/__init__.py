"""`livepeer dev`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from livepeer.runner.cli import options
from livepeer.trickle.cli.console import writable

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer dev

livepeer dev sentiment.py -i text="I love it"

livepeer dev live.py --input clip.mp4 --output out.mp4 -p u=90

The network is local, free, in memory, and for nobody but this machine. With --input, the exit code
is that of the call (see `livepeer run --help`); else 0 after Ctrl-C."""

Port = Annotated[int, typer.Option(min=0, max=65535, help="The pipeline's; 0 takes a free one.")]


@app.command(epilog=EPILOG)
def dev(
    pipeline: options.Target = None,
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
    port: Port = 8000,
    orch_port: Annotated[int, typer.Option(min=0, max=65535, help="The orchestrator's.")] = 8935,
    gateway_port: Annotated[int, typer.Option(min=0, max=65535, help="The gateway's.")] = 8937,
    tls: Annotated[
        bool, typer.Option(help="The orchestrator serves HTTPS, as a real one does.")
    ] = True,
) -> None:
    """Run a local network with your pipeline on it: orchestrator, gateway, reload on save.

    Prints the lines to call it from Python, curl and the shell, then one line for each event.
    """
    with options.explained():
        from livepeer.runner.cli.load import locate

        reference = locate(pipeline)
    from livepeer.runner.cli.dev.call import Call, find_client
    from livepeer.runner.cli.dev.session import Ports, run

    if (output or params) and not input:
        raise typer.BadParameter("belongs to a call: say --input too", param_hint="-o, -p")
    call = None
    if input:
        find_client()
        call = Call(tuple(input), output, tuple(params or ()))
    ports = Ports(port, orch_port, gateway_port)
    for number, option in ((port, "--port"), (orch_port, "--orch-port")):
        options.free_port("127.0.0.1", number, option)
    options.free_port("127.0.0.1", gateway_port, "--gateway-port")
    raise typer.Exit(asyncio.run(run(reference, ports, tls=tls, call=call)))
