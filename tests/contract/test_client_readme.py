"""The client's README: every Python block runs as it is printed, one after the other."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import aiohttp
import numpy as np
import pytest
from PIL import Image as Pictures
from pydantic import BaseModel, Field

from livepeer.runner import Image, LivePipeline, Pipeline, VideoFrame, create_app
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.settings import Settings
from livepeer.runner.testing import LocalServer
from livepeer.trickle.media import encode

from .live_runners import ForeignApp, heartbeat, serving

README = Path(__file__).parents[2] / "packages" / "livepeer-client" / "README.md"


class Answer(BaseModel):
    label: Literal["positive", "negative"]
    score: float


class Sentiment(Pipeline):
    """Tell whether a text is positive."""

    capacity = 4

    def predict(self, text: str) -> Answer:
        return Answer(label="negative" if text == "bad" else "positive", score=0.9)


class Upscale(Pipeline):
    """Make a picture larger."""

    def predict(self, image: Image, scale: Annotated[int, Field(ge=1, le=4)] = 2) -> Image:
        picture = image.to_pil()
        return Image.from_pil(picture.resize((picture.width * scale, picture.height * scale)))


class Llm(Pipeline):
    """Say something."""

    capacity = 4

    async def predict(self, prompt: str) -> AsyncIterator[dict[str, str]]:
        for token in ("Hello", ", ", "world"):
            yield {"token": token}


class Params(BaseModel):
    u: int = Field(128, ge=0, le=255)


class LiveTint(LivePipeline):
    """Colour a video."""

    params: Params

    async def on_stream_start(self, params: Params) -> None:
        await self.emit_data({"began": params.u})

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        frame.planes[1][:] = self.params.u
        return frame


PIPELINES: dict[str, Any] = {
    "sentiment": Sentiment,
    "upscale": Upscale,
    "llm": Llm,
    "live-tint": LiveTint,
}


def blocks() -> Iterator[str]:
    yield from re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
async def test_every_python_block_of_the_readme_runs_as_printed(tmp_path: Path) -> None:
    Pictures.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "cat.png")
    frames = (
        VideoFrame.from_ndarray(np.full((96, 160, 3), i, np.uint8), time=i / 30) for i in range(60)
    )
    encode(frames, tmp_path / "in.mp4", format="mp4")
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(LocalServer(create_app(cls, Settings())))
            for name, cls in PIPELINES.items()
        }
        for server in servers.values():
            server.wait_settled(30)
        async with (
            LocalOrchestrator() as orchestrator,
            aiohttp.ClientSession() as session,
            serving(ForeignApp()) as chat,
        ):
            await heartbeat(orchestrator, chat, app="org/chat", mode="persistent")
            for name, server in servers.items():
                async with session.post(
                    f"{orchestrator.url}/capability/register",
                    headers={"Authorization": orchestrator.secret},
                    json={"name": name, "url": server.url, "capacity": 4, "price_per_unit": 0},
                    ssl=False,
                ) as response:
                    assert response.status == 200
            program = "\n".join(blocks()).replace("https://orch:8935", orchestrator.url)
            done = await _run(program, tmp_path, orchestrator.url)
    assert done.returncode == 0, done.stderr
    assert "{'label': 'positive', 'score': 0.9}" in done.stdout
    assert "scale 99 is greater than the maximum of 4" in done.stdout
    assert "200 {'style': 'short'}" in done.stdout and "\nhello\n" in done.stdout
    assert "Hello, world" in done.stdout and "{'began': 90}" in done.stdout
    with Pictures.open(tmp_path / "big.png") as picture:
        assert picture.size == (16, 16)


async def _run(program: str, folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    import asyncio
    import os

    environment = os.environ | {
        "LIVEPEER_ORCH_URL": url,
        "LIVEPEER_TLS": "pin",
        "LIVEPEER_PINS": str(folder / "pins.json"),
    }
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=200,
        check=False,
    )


def test_every_error_of_the_readme_exists() -> None:
    import livepeer.client

    for name in re.findall(r"`(\w+Error)`", README.read_text(encoding="utf-8")):
        assert hasattr(livepeer.client, name)
