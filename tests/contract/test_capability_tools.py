"""`livepeer mcp --capability`: capabilities of the local network as tools of an official client."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from pydantic import BaseModel

from livepeer.client import Gateway
from livepeer.client.cli.capability_tools import CapabilityTools
from livepeer.client.testing import ScriptedOrchestrator
from livepeer.runner import Image, LivePipeline, Pipeline, VideoFrame, create_app
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.settings import Settings
from livepeer.runner.testing import LocalServer

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)


class Count(Pipeline):
    """Count to a number."""

    def predict(self, to: int) -> Iterator[int]:
        for number in range(to):
            self.progress(number / to, f"step {number}")
            yield number


class Same(Pipeline):
    """Give a picture back."""

    def predict(self, image: Image) -> Image:
        return image


class TintParams(BaseModel):
    u: int = 128


class Tint(LivePipeline):
    """Give a live video one colour."""

    params: TintParams

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        frame.planes[1][:] = self.params.u
        return frame


@asynccontextmanager
async def network() -> AsyncIterator[LocalOrchestrator]:
    async with LocalOrchestrator() as orchestrator:
        with ExitStack() as stack:
            for cls in (Count, Same, Tint):
                server = stack.enter_context(
                    LocalServer(create_app(cls, Settings(host="127.0.0.1")))
                )
                await asyncio.to_thread(server.wait_settled, 30)
                body = {"name": cls.pipeline_id, "url": server.url, "capacity": 4}
                body |= {"price_scaling": 1}
                orchestrator.capabilities.register(json.dumps(body).encode())
            yield orchestrator
            await asyncio.to_thread(stack.close)


def written(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def content(path: str) -> bytes:
    return Path(path).read_bytes()


NAMES = ["count", "same", "tint"]


@pytest.mark.parametrize("mode", ["auto", pytest.param("legacy", marks=pytest.mark.slow)])
async def test_a_stream_a_picture_and_a_live_one_are_tools(
    tmp_path: Path, clip: Path, mode: str
) -> None:
    written(tmp_path / "in.png", PNG)
    shutil.copy(clip, tmp_path / "in.mp4")
    progress: list[tuple[float, float | None, str | None]] = []

    async def told(at: float, of: float | None, what: str | None) -> None:
        progress.append((at, of, what))

    async with network() as orchestrator, Gateway(orch_url=orchestrator.url, tls="insecure") as gw:
        document = await gw.schema_async("count")
        bridge = CapabilityTools(gw, NAMES, tmp_path, 0.0)
        async with Client(bridge.server(), mode=mode) as agent:  # type: ignore[arg-type]
            tools = {tool.name: tool for tool in (await agent.list_tools()).tools}
            assert list(tools) == NAMES
            assert document and tools["count"].input_schema == document.input, "as it is"
            assert "Count to a number." in (tools["count"].description or "")
            assert "It is free." in (tools["count"].description or "")

            async def call(name: str, **arguments: Any) -> Any:
                return await agent.call_tool(name, arguments, progress_callback=told)

            streamed = await call("count", to=3)
            assert streamed.structured_content == {"result": [0, 1, 2]}
            assert any(what == "step 1" and of == 1.0 for _, of, what in progress)

            pictured = await call("same", image="@in.png")
            _, image, link = pictured.content
            assert (image.type, base64.b64decode(image.data)) == ("image", PNG)
            assert content(pictured.structured_content["result"]) == PNG
            assert link.type == "resource_link" and link.uri.startswith("file://")

            live = await call("tint", clip="in.mp4", params={"u": 90})
            assert not live.is_error, live.content
            _, first, video = live.content
            assert (first.type, video.mime_type) == ("image", "video/mp4")
            assert content(live.structured_content["video"])

            wrong = await call("count", to="many")
            assert wrong.is_error and "to: 'many' is not of type 'integer'" in wrong.content[0].text
            outside = await call("same", image="@../in.png")
            assert outside.is_error and "no file within" in outside.content[0].text
            assert (await call("nothing")).is_error


async def test_a_price_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    price = {"pricePerUnit": 7, "pixelsPerUnit": 1}
    async with ScriptedOrchestrator(price=price) as orchestrator:
        async with Gateway(orch_url=orchestrator.url, max_price=0) as gw:
            bridge = CapabilityTools(gw, ["paid"], tmp_path, 0.0)
            async with Client(bridge.server()) as agent:
                (tool,) = (await agent.list_tools()).tools
                assert "costs 7 wei a second" in (tool.description or "")
                assert "--max-price 7" in (tool.description or "")
                result = await agent.call_tool("paid", {"x": 1})
                assert result.is_error and "max_price" in result.content[0].text  # type: ignore[union-attr]
        assert not orchestrator.jobs, "not even for its schema"
        assert {request.path for request in orchestrator.others} <= {"/discovery"}
