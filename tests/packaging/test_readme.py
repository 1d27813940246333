"""The README of the root, run as printed: each audience's quickstart, from the built wheels."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from pydantic import BaseModel

from livepeer.runner import LivePipeline, Pipeline, VideoFrame, create_app
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.settings import Settings
from livepeer.runner.testing import LocalServer

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str, after: str) -> list[str]:
    """The fenced blocks of that language in the section with that heading."""
    section = re.split(r"^## ", README, flags=re.MULTILINE)
    text = next(part for part in section if part.startswith(after))
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    return [line.partition("#")[0].strip() for line in block.splitlines() if line.strip()]


def test_the_first_block_is_two_commands_that_exist() -> None:
    first = re.search(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    assert first is not None
    assert commands(first[1]) == ["scripts/demo", "scripts/test"]
    assert all(os.access(ROOT / command, os.X_OK) for command in commands(first[1]))


def test_an_author_gets_from_nothing_to_a_served_class(
    environment: Callable[[str], Any], unused_tcp_port: int
) -> None:
    home = environment("all")
    (block,) = blocks("sh", "Authors")
    install, init, check, predict, test, serve = commands(block)
    assert install == 'pip install "livepeer-runner[dev]"'
    home.install("livepeer-runner[dev]")
    path = f"{home.folder / 'env' / 'bin'}:{os.environ['PATH']}"
    variables = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    variables |= {"PATH": path, "PORT": str(unused_tcp_port), "HOST": "127.0.0.1"}

    def shell(command: str, folder: Path) -> str:
        done = subprocess.run(
            command, shell=True, cwd=folder, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    shell(init, home.work)
    folder = home.work / "hello"
    assert "nothing is wrong" in shell(check, folder)
    assert "label" in shell(predict, folder)
    assert re.search(r"\d passed", shell(test, folder))
    with subprocess.Popen(serve.split(), cwd=folder, env=variables) as process:
        try:
            assert wait_for(f"http://127.0.0.1:{unused_tcp_port}/docs")
        finally:
            process.terminate()
        assert process.wait(120) == 0


def wait_for(url: str) -> bytes:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urlopen(url, timeout=60) as answer:
                content: bytes = answer.read()
                return content
        except URLError:
            assert time.monotonic() < deadline, url
            time.sleep(0.05)


class Sentiment(Pipeline):
    def predict(self, text: str) -> str:
        return "positive"


class Token(BaseModel):
    token: str


class LlmChat(Pipeline):
    def predict(self, messages: list[dict[str, str]]) -> Iterator[Token]:
        for word in ("Hello", " ", "you"):
            yield Token(token=word)


class TintParams(BaseModel):
    u: int = 128


class LiveTint(LivePipeline):
    params: TintParams

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        _, u, _ = frame.planes
        u[:] = self.params.u
        return frame


async def test_an_app_developer_calls_by_the_three_verbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks("python", "App developers")
    (tmp_path / "in.mp4").symlink_to(ROOT / "examples" / "media" / "big_buck_bunny.mp4")
    monkeypatch.chdir(tmp_path)
    async with LocalOrchestrator() as orchestrator:
        with ExitStack() as stack:
            for cls in (Sentiment, LlmChat, LiveTint):
                await serve(cls, orchestrator, stack)
            frames: list[Any] = []
            code = code.replace("https://orchestrator:8935", orchestrator.url)
            code = code.replace('tls="pin"', 'tls="insecure"')  # no pin of a test is kept
            code = re.sub(r"^( +)\.\.\. .*$", r"\1frames.append(frame)", code, flags=re.MULTILINE)
            names: dict[str, Any] = {"frames": frames}
            await asyncio.to_thread(exec, compile(code, "README.md", "exec"), names)
            await names["gw"].aclose()
            await asyncio.to_thread(stack.close)
    assert "Hello you" in capsys.readouterr().out
    assert sum(isinstance(frame, VideoFrame) for frame in frames) > 60


async def serve(cls: Any, orchestrator: LocalOrchestrator, stack: Any) -> None:
    """The class, served and registered as `cls.pipeline_id`."""
    server = stack.enter_context(LocalServer(create_app(cls, Settings(host="127.0.0.1"))))
    await asyncio.to_thread(server.wait_settled, 30)
    body = {"name": cls.pipeline_id, "url": server.url, "capacity": 4, "price_scaling": 1}
    orchestrator.capabilities.register(json.dumps(body).encode())


async def test_an_operator_needs_two_variables(tmp_path: Path, unused_tcp_port: int) -> None:
    (block,) = blocks("sh", "Operators")
    code = re.search(r"^```python\n(# pipeline\.py.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert code is not None
    (tmp_path / "pipeline.py").write_text(code[1])
    secret = tmp_path / "orch"
    async with LocalOrchestrator() as orchestrator:
        secret.write_text(orchestrator.secret)
        command = block.replace("https://orchestrator:8935", orchestrator.url)
        command = command.replace("/run/secrets/orch", str(secret)).replace(
            "python ", f"exec {sys.executable} "
        )
        variables = os.environ | {"PORT": str(unused_tcp_port), "HOST": "127.0.0.1"}
        process = await asyncio.create_subprocess_shell(command, cwd=tmp_path, env=variables)
        try:
            async with asyncio.timeout(120):
                # Another process registers it, so there is nothing here to wait on.
                while not orchestrator.capabilities.available("grayscale"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        finally:
            process.terminate()
        assert await asyncio.wait_for(process.wait(), 120) == 0
        assert orchestrator.capabilities.available("grayscale") == 0
