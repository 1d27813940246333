"""What `push` asks before it publishes. The command behind it is a stand-in, which says what it was
told; the real one publishes in tests/container."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import ElicitResult

from livepeer.runner.mcp.children import Children
from livepeer.runner.mcp.server import make_server

NAME = "registry.test/me/hello"
COMMAND = """
import json, pathlib, sys
arguments = sys.argv[1:]
with open(pathlib.Path(__file__).with_name("told"), "a") as told:
    print(json.dumps(arguments), file=told)
name = arguments[arguments.index("--tag") + 1] if "--tag" in arguments else "registry.test/me/hello"
if "--dry-run" in arguments:
    name, _, tag = name.partition(":")
    print(json.dumps({"image": name, "tag": tag or None, "last_version": "1.0.0"}))
else:
    print(json.dumps({"reference": name + "@sha256:abc", "tags": ["1.1.0", "latest"]}))
"""


class Agent:
    def __init__(self, folder: Path, action: str | None) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        (self.root / "pipeline.py").write_text("")
        self.program = folder / "command.py"
        self.program.write_text(COMMAND)
        self.asked: list[str] = []
        self._action = action

    def client(self, mode: str) -> Client:
        async def answered(context: Any, params: Any) -> ElicitResult:
            self.asked.append(params.message)
            content = {"publish": True} if self._action == "accept" else None
            return ElicitResult(action=self._action, content=content)  # type: ignore[arg-type]

        server = make_server(self.root, Children((sys.executable, str(self.program))))
        more: Any = {} if self._action is None else {"elicitation_callback": answered}
        return Client(server, mode=mode, **more)  # type: ignore[arg-type]

    @property
    def published(self) -> int:
        told = self.program.with_name("told")
        lines = told.read_text().splitlines() if told.exists() else []
        return sum("--dry-run" not in json.loads(line) for line in lines)


@pytest.mark.parametrize(
    ("mode", "action"), [("auto", "accept"), ("legacy", "accept"), ("auto", "decline")]
)
async def test_a_person_is_asked_and_obeyed(tmp_path: Path, mode: str, action: str) -> None:
    agent = Agent(tmp_path, action)
    async with agent.client(mode) as client:
        first = await client.call_tool("push", {})
        assert first.structured_content is not None
        assert (first.structured_content["published"], agent.asked) == (False, [])
        result = await client.call_tool("push", {"publish": True})
    assert len(agent.asked) == 1 and NAME in agent.asked[0] and "1.0.0" in agent.asked[0]
    if action == "accept":
        assert result.structured_content is not None
        assert result.structured_content["reference"] == f"{NAME}@sha256:abc"
    else:
        assert result.is_error
    assert agent.published == (action == "accept")


async def test_who_cannot_be_asked_says_the_exact_name(tmp_path: Path) -> None:
    agent = Agent(tmp_path, None)
    async with agent.client("legacy") as client:
        for arguments in ({}, {"confirm": True}):
            result = await client.call_tool("push", {"publish": True, **arguments})
            text: str = result.content[0].text  # type: ignore[union-attr]
            assert result.is_error and f"image='{NAME}'" in text and "Next: ask the person" in text
        assert agent.published == 0
        done = await client.call_tool("push", {"publish": True, "confirm": True, "image": NAME})
    assert not done.is_error and agent.published == 1
