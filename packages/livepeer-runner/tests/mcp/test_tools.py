"""`livepeer mcp` by the official client, in both eras of the protocol."""

from __future__ import annotations

import asyncio
import base64
import io
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from textwrap import dedent
from typing import Any

import aiohttp
import numpy as np
import pytest
from mcp import Client, StdioServerParameters
from mcp_types import ElicitResult
from PIL import Image

from livepeer.runner.mcp.children import ChildFailed, Children
from livepeer.runner.mcp.http import PATH, serve_http
from livepeer.runner.mcp.server import make_server
from livepeer.runner.serving.listener import bind
from livepeer.trickle.media import VideoFrame, encode

LIMIT = 120.0
NAMES = {"scaffold", "check", "predict", "run_live", "test", "serve"}
NAMES |= {"doctor", "bench", "build", "push", "call", "docs"}

PRINTS = """
    import os, subprocess
    from livepeer.runner import Pipeline
    print("{}")
    class Prints(Pipeline):
        def predict(self, text: str) -> str:
            print('{"jsonrpc": "2.0"}', flush=True)
            os.write(1, b'{"kind": "value", "value": "a lie"}\\n')
            subprocess.run(["echo", '{"kind": "value", "value": "another"}'], check=True)
            return text.upper()
"""
SLOW_ONCE = """
    import time
    from livepeer.runner import LivePipeline, VideoFrame
    class SlowOnce(LivePipeline):
        def setup(self): self.seen = 0
        def process_video(self, frame: VideoFrame) -> VideoFrame:
            self.seen += 1
            if self.seen == 20:
                time.sleep(2.0)
                y, u, v = frame.planes
                y[:], u[:], v[:] = 76, 84, 255  # red
            return frame
"""
FOREVER = """
    import os, pathlib
    from collections.abc import Iterator
    from livepeer.runner import LivePipeline, VideoFrame
    class Forever(LivePipeline):
        def process_video(self, frame: VideoFrame) -> VideoFrame:
            here = pathlib.Path(__file__).with_name("pid")
            here.write_text(str(os.getpid()))
            import time
            time.sleep(600)
            return frame
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@asynccontextmanager
async def client(root: Path, mode: str, children: Children, **more: Any) -> AsyncIterator[Client]:
    async with Client(make_server(root, children), mode=mode, **more) as found:  # type: ignore[arg-type]
        yield found


async def told(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content[0].text  # type: ignore[union-attr]
    assert result.structured_content is not None
    return result.structured_content


async def refused(client: Client, name: str, **arguments: Any) -> str:
    result = await client.call_tool(name, arguments)
    assert result.is_error, result.structured_content
    text: str = result.content[0].text  # type: ignore[union-attr]
    assert "Next: " in text and "pydantic.dev" not in text and "Error executing" not in text
    return text


async def until(done: Callable[[], bool]) -> None:
    """For what another process does: looked at until it is so, within a limit."""
    async with asyncio.timeout(LIMIT):
        while not done():  # noqa: ASYNC110 — there is no event for it
            await asyncio.sleep(0.05)


def ended(pid: str) -> bool:
    """Whether a process is gone, or waits for no more than to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def clip(path: Path, count: int = 30) -> None:
    grey = np.full((96, 160, 3), 120, np.uint8)
    frames = [VideoFrame.from_ndarray(grey, time=Fraction(at, 30)) for at in range(count)]
    encode(frames, path, format="mp4")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.slow
async def test_an_agent_gets_from_nothing_to_what_would_be_published(
    root: Path, mode: str, commands: tuple[str, ...]
) -> None:
    asked: list[str] = []

    async def decline(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="decline")

    async with client(root, mode, Children(commands), elicitation_callback=decline) as agent:
        tools = {tool.name: tool for tool in (await agent.list_tools()).tools}
        assert set(tools) == NAMES and len(tools) == 12
        for tool in tools.values():
            assert tool.output_schema is not None
            assert tool.description and len(tool.description) > 100
        assert tools["push"].annotations and tools["push"].annotations.destructive_hint
        assert "tutorials/request" in (await told(agent, "docs"))["topics"]
        assert "process_video" in (await told(agent, "docs", topic="live-video"))["text"]
        assert "did you mean" in await refused(agent, "docs", topic="live-vidoe")
        assert (await told(agent, "scaffold", folder="hello"))["id"] == "hello"
        assert (await told(agent, "check", pipeline="hello"))["errors"] == 0
        given = await told(agent, "predict", pipeline="hello", input={"text": "I love it"})
        assert given["value"]["label"] == "positive"
        assert "tex: Extra" in await refused(agent, "predict", pipeline="hello", input={"tex": ""})
        assert "would be overwritten" in await refused(agent, "scaffold", folder="hello")
        assert "is live" not in await refused(agent, "run_live", pipeline="hello", clip="hello")
        assert "greater than 0" in await refused(agent, "predict", pipeline="hello", seconds=-1)
        assert "FROM python" in (await told(agent, "build", pipeline="hello"))["dockerfile"]
        assert "localhost:1 cannot be reached" in await refused(
            agent, "push", pipeline="hello", image="localhost:1/me/hello", publish=True
        )
        assert not asked, "nobody is asked of what the registry would not have"
        assert "no orchestrator" in await refused(agent, "call", capability="hello")


async def test_an_argument_that_a_tool_does_not_have_is_refused_and_nothing_is_done(
    root: Path, commands: tuple[str, ...]
) -> None:
    async with client(root, "auto", Children(commands)) as agent:
        told = await refused(agent, "scaffold", folder="new", kind="stream")
    assert "it has no argument kind" in told and "it takes folder, name, template" in told
    assert not (root / "new").exists()


async def test_nothing_outside_of_the_root_is_read_or_written(
    root: Path, tmp_path: Path, commands: tuple[str, ...]
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "out").symlink_to(tmp_path)
    (root / "pipeline.py").write_text(dedent(PRINTS))
    async with client(root, "auto", Children(commands)) as agent:
        for path in ("../secret.txt", str(tmp_path / "secret.txt"), "link.txt", "out/secret.txt"):
            assert "outside" in await refused(agent, "predict", input={"text": f"@{path}"})
            assert "outside" in await refused(agent, "run_live", clip=path)
            assert "outside" in await refused(agent, "bench", clip=path)
            assert "outside" in await refused(agent, "bench", input={"text": f"@{path}"})
            assert "outside" in await refused(agent, "predict", output=path)
        assert "outside" in await refused(agent, "scaffold", folder="out/new")
        assert "outside" in await refused(agent, "test", folder="..")
        assert "outside" in await refused(agent, "serve", action="start", pipeline="../x.py")
    assert not (tmp_path / "new").exists()


async def test_the_worst_picture_is_the_one_that_was_waited_for(
    root: Path, commands: tuple[str, ...]
) -> None:
    (root / "pipeline.py").write_text(dedent(SLOW_ONCE))
    clip(root / "in.mp4")
    async with client(root, "auto", Children(commands)) as agent:
        result = await agent.call_tool("run_live", {"clip": "in.mp4", "output": "out.mp4"})
    assert not result.is_error and result.structured_content is not None
    run, pictures = result.structured_content, result.content[1:]
    assert run["well"] and run["figures"]["frames"] == 30 and run["output"] == "out.mp4"
    assert (root / "out.mp4").stat().st_size
    assert [each["what"] for each in run["pictures"]] == [
        ["first"],
        ["middle"],
        ["last"],
        ["worst"],
    ]
    worst = next(at for at, each in enumerate(run["pictures"]) if "worst" in each["what"])
    reds = []
    for block in pictures:
        assert block.type == "image" and block.mime_type == "image/jpeg"
        with Image.open(io.BytesIO(base64.b64decode(block.data))) as picture:
            assert max(picture.size) <= 768
            red, green, _ = picture.convert("RGB").getpixel((80, 48))  # type: ignore[misc]
            reds.append(red - green > 100)
    assert [at for at, red in enumerate(reds) if red] == [worst]


async def test_who_cancels_ends_the_pipeline_as_well(root: Path) -> None:
    (root / "pipeline.py").write_text(dedent(FOREVER))
    clip(root / "in.mp4", 5)
    async with client(root, "legacy", Children()) as agent:
        calling = asyncio.create_task(agent.call_tool("run_live", {"clip": "in.mp4"}))
        await until(lambda: (root / "pid").exists() and bool((root / "pid").read_text()))
        text = (root / "pid").read_text()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await until(lambda: ended(text))
        assert "within" in await refused(agent, "predict", pipeline=".."), "it goes on"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_pipeline_that_prints_does_not_meet_the_protocol(root: Path, mode: str) -> None:
    (root / "pipeline.py").write_text(dedent(PRINTS))
    program = StdioServerParameters(
        command=sys.executable, args=["-P", "-m", "livepeer", "mcp", "--root", str(root)]
    )
    async with asyncio.timeout(LIMIT), Client(program, mode=mode) as agent:  # type: ignore[arg-type]
        assert (await told(agent, "predict", input={"text": "quiet"}))["value"] == "QUIET"
        served = await told(agent, "serve", action="start")
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{served['url']}/predict", json={"text": "a"}) as answer:
                assert await answer.json() == "A"
        logs = (await told(agent, "serve", action="logs"))["logs"]
        assert any("a lie" in line for line in logs)
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectionError):  # it ended with the server
            await http.get(served["url"])


async def test_a_command_is_bounded_in_time_and_output(tmp_path: Path) -> None:
    children = Children((sys.executable, "-c"))
    said = tmp_path / "pid"
    with pytest.raises(ChildFailed, match=r"ended after 1 s, its limit"):
        await children.run(
            ("sh", "-c", f"sleep 600 & echo $! > {said}; wait"), folder=tmp_path, seconds=1
        )
    await until(lambda: ended(said.read_text().strip()))
    with pytest.raises(ChildFailed, match=r"printed over 16 MiB"):
        await children.run(("yes",), folder=tmp_path, seconds=60)
    with pytest.raises(ChildFailed, match="no reason") as caught:
        await children.run(("sh", "-c", "echo no reason >&2; exit 7"), folder=tmp_path, seconds=60)
    assert caught.value.code == 7
    small = Children((sys.executable, "-c"), memory=1 << 30)
    with pytest.raises(ChildFailed, match="MemoryError"):
        await small.run(
            (sys.executable, "-c", "import time; time.sleep(0.3); bytearray(2 << 30)"),
            folder=tmp_path,
            seconds=60,
        )


async def test_http_is_for_who_has_the_token(root: Path, commands: tuple[str, ...]) -> None:
    server = make_server(root, Children(commands))
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize"}
    body |= {
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "0"},
        }
    }
    accept = {"Accept": "application/json, text/event-stream"}
    with bind("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}{PATH}"
        serving = asyncio.create_task(serve_http(server, listener, "s3cret"))
        try:
            async with asyncio.timeout(LIMIT), aiohttp.ClientSession(headers=accept) as http:
                for headers in ({}, {"Authorization": "Bearer wrong"}):
                    async with http.post(url, json=body, headers=headers) as answer:
                        assert answer.status == 401
                right = {"Authorization": "Bearer s3cret"}
                async with http.post(url, json=body, headers=right) as answer:
                    assert answer.status == 200
                    assert "Livepeer pipelines" in await answer.text()
                async with http.post(url, json=body, headers=right | {"Host": "evil"}) as answer:
                    assert answer.status == 421, "a name that was bound to the loopback"
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
