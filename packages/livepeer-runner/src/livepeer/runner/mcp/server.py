"""The server of `livepeer mcp`: the tools, and how what fails is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp_types import CallToolResult, InputRequiredResult
from pydantic import ValidationError

from livepeer.runner.mcp import (
    author_tools,
    calling_tools,
    examining_tools,
    running_tools,
    shipping_tools,
)
from livepeer.runner.mcp.children import Children
from livepeer.runner.mcp.root import Root
from livepeer.runner.mcp.served import Background
from livepeer.runner.mcp.workbench import ToolContext, Workbench, failed
from livepeer.trickle.cli.host import versions
from livepeer.trickle.text import printable

INSTRUCTIONS = """Write AI pipelines for the Livepeer network: one Python class becomes a container.

The way: `scaffold` a folder, edit its pipeline.py, `predict` (or `run_live` for live video) until
it is right, `test`, `doctor`, `bench`, `build`, `push`. `docs` has the manual: read the page of
the kind that you write first. All paths are within {root}."""


TOOLS = [
    *author_tools.TOOLS,
    *running_tools.TOOLS,
    *examining_tools.TOOLS,
    *shipping_tools.TOOLS,
    *calling_tools.TOOLS,
]
TAKES = {tool.name: frozenset(tool.parameters["properties"]) for tool in TOOLS}
"""The arguments of each tool."""


class AuthorServer(MCPServer[Workbench]):
    """`MCPServer`, whose errors are an agent's next step and nothing else."""

    async def call_tool(
        self,
        name: str,
        arguments: dict[str, Any],
        context: ToolContext | None = None,
    ) -> CallToolResult | InputRequiredResult:
        takes = TAKES.get(name)
        if takes is not None and (unknown := sorted(arguments.keys() - takes)):
            # The library would leave them out without a word, and do something else.
            told = printable(", ".join(unknown), 200)
            raise failed(
                f"{name} was not called",
                f"it has no argument {told}",
                f"it takes {', '.join(sorted(takes))}",
            )
        try:
            return await super().call_tool(name, arguments, context)
        except UnexpectedToolError:
            raise  # logged with its traceback; its text is kept from the client
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                raise ToolError(_arguments_refused(name, error.__cause__)) from None
            raise ToolError(str(error).removeprefix(f"Error executing tool {name}: ")) from None


def make_server(root: Path, children: Children | None = None) -> AuthorServer:
    """A server whose tools work within `root`. Raises `OutsideRoot` where that is no folder."""
    place, started = Root.of(root), children or Children()

    @asynccontextmanager
    async def lifespan(server: MCPServer[Workbench]) -> AsyncIterator[Workbench]:
        async with anyio.create_task_group() as tasks:
            background = Background(started, tasks)
            try:
                yield Workbench(place, started, background)
            finally:
                await background.aclose()
                tasks.cancel_scope.cancel()

    return AuthorServer(
        "livepeer",
        title="Livepeer pipelines",
        instructions=INSTRUCTIONS.format(root=place.path),
        version=versions()["livepeer-runner"] or "0",
        log_level="WARNING",
        lifespan=lifespan,
        tools=TOOLS,
    )


def _arguments_refused(name: str, error: ValidationError) -> str:
    told = "; ".join(
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:10]
    )
    return f"the arguments of `{name}` are refused: {told}\nNext: call it with arguments that fit"
