"""An agent's whole road, by the tools of `livepeer mcp`: from a folder to a published image."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp_types import ElicitResult

from livepeer.runner.mcp.server import make_server

from .base_image import VERSION
from .conftest import LocalRegistry

pytestmark = [pytest.mark.container, pytest.mark.slow, pytest.mark.timeout(900)]

LIMIT = 600.0


async def told(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


def manifest(folder: Path, base_image: str) -> None:
    """What the author edits: the base that this machine has."""
    file = folder / "livepeer.yaml"
    kept = [line for line in file.read_text().splitlines() if line.startswith("pipeline:")]
    lines = [*kept, f"python: {{version: '{VERSION}'}}", f"base: {base_image}"]
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("template", "mode", "asks"),
    [
        ("batch", "auto", True),
        ("stream", "legacy", True),
        ("image", "auto", False),
        ("live-video", "legacy", False),
        ("generate", "stdio", False),
    ],
)
async def test_an_agent_publishes_what_it_has_begun(
    store: dict[str, str],
    registry: LocalRegistry,
    base_image: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    template: str,
    mode: str,
    asks: bool,
) -> None:
    asked: list[str] = []

    async def accept(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"publish": True})

    for name, value in store.items():
        monkeypatch.setenv(name, value)
    server: Any = make_server(tmp_path)
    if mode == "stdio":
        program = ["-P", "-m", "livepeer", "mcp", "--root", str(tmp_path)]
        server = StdioServerParameters(command=sys.executable, args=program, env=store)
    more: Any = {"elicitation_callback": accept} if asks else {}
    image = f"{registry.host}/agents/{template}-livepeer-runner"
    era: Any = "auto" if mode == "stdio" else mode
    async with asyncio.timeout(LIMIT), Client(server, mode=era, **more) as agent:
        await told(agent, "scaffold", folder="mine", template=template)
        await asyncio.to_thread(manifest, tmp_path / "mine", base_image)
        assert (await told(agent, "check", pipeline="mine"))["errors"] == 0
        plan = await told(agent, "push", pipeline="mine", image=image)
        assert not plan["published"] and plan["image"] == image
        confirmed = {} if asks else {"confirm": True}
        done = await told(agent, "push", pipeline="mine", image=image, publish=True, **confirmed)
        assert done["published"] and done["reference"].startswith(f"{image}@sha256:")
        again = await told(agent, "push", pipeline="mine", image=image)
        assert again["last_version"], "the registry has it"
    assert len(asked) == asks and all(image in message for message in asked)
