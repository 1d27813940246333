"""`livepeer mcp --capability NAME`."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from livepeer.client.cli import options as opt
from livepeer.trickle.cli.console import emit_text, fail, note
from livepeer.trickle.cli.mcp_hosts import HOSTS, CannotInstall, Stanza, install

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = f"""Examples:

livepeer mcp --capability live-tint --orch https://orch:8935 --tls pin

livepeer mcp --orch https://orch:8935 --install claude

livepeer mcp --capability org/app --max-price 1000

{opt.EPILOG}"""


@app.command(epilog=EPILOG)
def mcp(
    capability: Annotated[
        list[str] | None,
        typer.Option("--capability", metavar="NAME", help="A tool for this one; may come again."),
    ] = None,
    orch: Annotated[
        str | None,
        typer.Option(
            "--orch",
            metavar="URL",
            help="Orchestrators, separated by commas; without --capability, a tool for all that "
            "they list.",
        ),
    ] = None,
    tls: opt.Tls = None,
    max_price: Annotated[
        float,
        typer.Option("--max-price", metavar="WEI", min=0, help="The most, per second. 0: free."),
    ] = 0.0,
    root: Annotated[
        Path, typer.Option("--root", help="The folder whose files may be sent, and for results.")
    ] = Path(),
    install_: Annotated[
        str | None,
        typer.Option(
            "--install", metavar="|".join(HOSTS), help="Tell an agent's program of it, and end."
        ),
    ] = None,
    print_: Annotated[
        bool, typer.Option("--print", help="With --install: print it, and change nothing.")
    ] = False,
) -> None:
    """Capabilities of the network as tools for agents, by the Model Context Protocol.

    Each tool has the schema of its capability. Pictures and sound are shown, files are kept in
    livepeer-out, streams report their progress, and each description tells the price.
    """
    if install_ is not None:
        _install(install_, capability or [], orch, tls, max_price, print_)
        return
    if not capability and orch is None and not os.environ.get("LIVEPEER_ORCH_URL"):
        fail(
            "say --capability NAME or --orch URL; tools for authors of pipelines come with "
            "livepeer-runner: pip install 'livepeer-runner[mcp]'",
            code=2,
        )
    if find_spec("mcp") is None:
        fail("livepeer mcp needs mcp: pip install 'livepeer-client[mcp]'", code=2)
    if not root.is_dir():
        fail(f"there is no folder {root}", code=2)
    from mcp.server.stdio import stdio_server

    from livepeer.client.cli.capability_tools import CapabilityTools

    with opt.gateway(orch_url=orch, tls=tls, max_price=max_price) as gw:
        server = CapabilityTools(gw, capability or None, root, max_price).server()

        async def serve() -> None:
            async with gw, stdio_server() as (reading, writing):
                await server.run(reading, writing, server.create_initialization_options())

        if sys.stdin.isatty():
            note("An MCP client starts this by itself, and speaks to it; Ctrl-C ends it.")
        asyncio.run(serve())


def _install(
    name: str,
    capabilities: list[str],
    orch: str | None,
    tls: str | None,
    max_price: float,
    print_: bool,
) -> None:
    host = HOSTS.get(name)
    if host is None:
        raise typer.BadParameter(f"say {', '.join(HOSTS)}", param_hint="--install")
    arguments = ["--from", "livepeer-client[mcp]", "livepeer", "mcp"]
    for each in capabilities:
        arguments += ["--capability", each]
    arguments += ["--orch", orch] if orch is not None else []
    arguments += ["--tls", tls] if tls is not None else []
    arguments += ["--max-price", f"{max_price:g}"] if max_price else []
    stanza = Stanza("livepeer-capabilities", "uvx", arguments)
    if print_:
        emit_text(stanza.text(host), end="")
        return
    path = host.path(Path.home(), Path.cwd())
    try:
        changed = install(host, stanza, path)
    except CannotInstall as error:
        fail(error)
    note(f"{path}: {'the tools are there now' if changed else 'they were there already'}")
