"""`livepeer mcp`."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livepeer.runner.cli import options
from livepeer.trickle.cli.console import emit_text, fail, note
from livepeer.trickle.cli.mcp_hosts import HOSTS, CannotInstall, Stanza
from livepeer.trickle.cli.mcp_hosts import install as install_stanza

if TYPE_CHECKING:
    from livepeer.runner.mcp.server import AuthorServer

app = typer.Typer(add_completion=False, rich_markup_mode="rich", invoke_without_command=True)

TOKEN = "LIVEPEER_MCP_TOKEN"
EPILOG = f"""Examples:

livepeer mcp install claude

livepeer mcp --root my-pipeline

livepeer mcp --http --port 8900

livepeer mcp --capability live-tint --orch https://orch:8935

With --http its token is {TOKEN}, or a new one each time."""

Root = Annotated[Path, typer.Option("--root", help="The folder that the tools may read and write.")]
Memory = Annotated[
    float | None,
    typer.Option(
        "--memory",
        min=0.1,
        help="GB of address space for each command that a tool runs (Linux); a GPU needs a lot.",
    ),
]


@app.callback(epilog=EPILOG)
def mcp(
    ctx: typer.Context,
    root: Root = Path(),
    http: Annotated[
        bool, typer.Option("--http", help="Streamable HTTP on the loopback, in place of stdio.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="For --http; 0 takes a free one.")
    ] = 0,
    memory: Memory = None,
) -> None:
    """Tools for coding agents, by the Model Context Protocol: from a new folder to an image.

    An agent's program starts it by itself; `livepeer mcp install` tells that program. With
    --capability NAME, or --orch URL, the tools are the capabilities of the network.
    """
    if ctx.invoked_subcommand is not None:
        return
    if find_spec("mcp") is None:
        fail("livepeer mcp needs mcp: pip install 'livepeer-runner[mcp]'", code=2)
    from livepeer.runner.mcp.children import Children
    from livepeer.runner.mcp.root import OutsideRoot
    from livepeer.runner.mcp.server import make_server

    children = Children(memory=None if memory is None else int(memory * 1e9))
    try:
        server = make_server(root, children)
    except OutsideRoot as error:
        fail(error, code=2)
    if http:
        _serve_http(server, port)
        return
    if sys.stdin.isatty():
        note("An MCP client starts this by itself, and speaks to it; Ctrl-C ends it.")
    asyncio.run(server.run_stdio_async())


def _serve_http(server: AuthorServer, port: int) -> None:
    from livepeer.runner.mcp.http import PATH, serve_http
    from livepeer.runner.serving.listener import bind

    options.free_port("127.0.0.1", port, "--port")
    token = os.environ.get(TOKEN) or secrets.token_urlsafe(32)
    with bind("127.0.0.1", port) as listener:
        note(f"MCP at http://127.0.0.1:{listener.getsockname()[1]}{PATH}")
        if not os.environ.get(TOKEN):
            note(f"Authorization: Bearer {token}")
        asyncio.run(serve_http(server, listener, token))


INSTALL_EPILOG = """Examples:

livepeer mcp install claude

livepeer mcp install codex --print"""


@app.command(epilog=INSTALL_EPILOG)
def install(
    host: Annotated[str, typer.Argument(metavar="|".join(HOSTS), help="The agent's program.")],
    root: Annotated[
        Path | None, typer.Option("--root", help="Without it: where the program starts it.")
    ] = None,
    print_: Annotated[
        bool, typer.Option("--print", help="Print what belongs into its file; change nothing.")
    ] = False,
) -> None:
    """Tell an agent's program of these tools: a few lines in its file, and nothing else changed."""
    there = HOSTS.get(host)
    if there is None:
        raise typer.BadParameter(f"say {', '.join(HOSTS)}", param_hint="HOST")
    arguments = ["--from", "livepeer-runner[dev,mcp]", "livepeer", "mcp"]
    if root is not None:
        arguments += ["--root", str(root.resolve())]
    stanza = Stanza("livepeer", "uvx", arguments)
    if print_:
        emit_text(stanza.text(there), end="")
        return
    path = there.path(Path.home(), Path.cwd())
    try:
        changed = install_stanza(there, stanza, path)
    except CannotInstall as error:
        fail(error)
    note(f"{path}: {'livepeer is there now' if changed else 'it was there already'}")
    note(f"Start {there.name} anew; uvx, which comes with uv, starts the tools.")
