"""`livepeer mcp --orch URL` as an agent's program starts it: what discovery lists are tools."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from .network import EXAMPLES, Network


@pytest.mark.slow
async def test_a_live_runner_that_is_listed_is_a_tool(network: Network, tmp_path: Path) -> None:
    network.serve(EXAMPLES / "hello_world" / "pipeline.py", app="examples/hello")
    command = ["-P", "-m", "livepeer", "mcp", "--orch", network.url, "--tls", "insecure"]
    program = StdioServerParameters(
        command=sys.executable, args=[*command, "--root", str(tmp_path)]
    )
    async with asyncio.timeout(120), Client(program) as agent:
        (tool,) = (await agent.list_tools()).tools
        assert tool.name == "examples_hello"
        assert tool.input_schema["properties"]["name"]["type"] == "string"
        result = await agent.call_tool(tool.name, {"name": "Ada"})
        assert result.structured_content == {"result": "Hello, Ada!"}
