"""`livepeer mcp --orch URL` as an agent's program starts it: what discovery lists are tools."""

from __future__ import annotations

import asyncio
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcp import Client, StdioServerParameters

from livepeer.runner.mcp.server import make_server
from livepeer.trickle.media import VideoFrame, encode

from .network import EXAMPLES, Network


def clip(path: Path) -> None:
    grey = np.full((96, 160, 3), 120, np.uint8)
    frames = [VideoFrame.from_ndarray(grey, time=Fraction(at, 30)) for at in range(45)]
    encode(frames, path, format="mp4")


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


@pytest.mark.slow
async def test_an_author_calls_what_there_is(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.serve(EXAMPLES / "hello_world" / "pipeline.py")
    network.serve(EXAMPLES / "live_tint" / "pipeline.py")
    (tmp_path / "in.mp4").symlink_to(tmp_path / "clip.mp4")
    clip(tmp_path / "clip.mp4")
    monkeypatch.setenv("LIVEPEER_TLS", "insecure")
    async with asyncio.timeout(120), Client(make_server(tmp_path)) as agent:

        async def call(**arguments: Any) -> dict[str, Any]:
            result = await agent.call_tool("call", {"orch": network.url, **arguments})
            assert not result.is_error and result.structured_content, result.content
            return result.structured_content

        assert (await call(capability="hello-world", input={"name": "Ada"}))["value"] == (
            "Hello, Ada!"
        )
        live = await call(capability="live-tint", clip="in.mp4", output="out.mp4", input={"u": 200})
        assert live["path"] == "out.mp4" and "pictures" in live["said"]
