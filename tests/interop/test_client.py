"""Every verb of the client against any go-livepeer, with pipelines that this test starts itself:

    LIVEPEER_INTEROP_ORCH_URL=https://127.0.0.1:8935 LIVEPEER_INTEROP_ORCH_SECRET=... \\
        scripts/test -m interop tests/interop

LIVEPEER_INTEROP_GATEWAY_URL adds the road through a gateway (an on-chain one: offchain gateways
cannot do BYOC). LIVEPEER_INTEROP_RUNNER_HOST is where the orchestrator reaches this machine,
127.0.0.1 unless told. Without the variables nothing runs.
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import aiohttp
import numpy as np
import pytest
from pydantic import BaseModel, Field

from livepeer.client import Gateway, InvalidInputError, NoOrchestratorError
from livepeer.runner import LivePipeline, Pipeline, VideoFrame, create_app
from livepeer.runner.settings import Settings
from livepeer.runner.testing import LocalServer

ORCH = os.environ.get("LIVEPEER_INTEROP_ORCH_URL", "").rstrip("/")
SECRET = os.environ.get("LIVEPEER_INTEROP_ORCH_SECRET", "")
GATEWAY = os.environ.get("LIVEPEER_INTEROP_GATEWAY_URL", "").rstrip("/")
HOST = os.environ.get("LIVEPEER_INTEROP_RUNNER_HOST", "127.0.0.1")
LIMIT = 60.0

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not (ORCH and SECRET), reason="not run: LIVEPEER_INTEROP_ORCH_URL, _SECRET name no server"
    ),
]


class Echo(Pipeline):
    """Say it again."""

    capacity = 8

    def predict(self, text: str) -> dict[str, str]:
        return {"text": text}


class Count(Pipeline):
    """Count, one event for each number."""

    capacity = 8

    async def predict(self, to: int, text: str = "") -> AsyncIterator[dict[str, Any]]:
        for i in range(to):
            yield {"i": i, "text": text}


class Params(BaseModel):
    u: int = Field(128, ge=0, le=255)


class Tint(LivePipeline):
    """Colour a video."""

    params: Params
    capacity = 8

    async def on_stream_start(self, params: Params) -> None:
        await self.emit_data({"u": params.u})

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        frame.planes[1][:] = self.params.u
        return frame


class Served(LocalServer):
    """Reachable from another host where the orchestrator is on one."""

    def __init__(self, cls: Any) -> None:
        super().__init__(create_app(cls, Settings()))
        if HOST not in ("127.0.0.1", "localhost"):
            self._listener.close()
            self._listener = socket.create_server(("0.0.0.0", 0), backlog=512)
            self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def containers() -> Iterator[dict[str, str]]:
    """Addresses by capability; each run has names of its own, so that many may share a server."""
    run = uuid.uuid4().hex[:8]
    with ExitStack() as stack:
        served = {
            f"interop-{cls.__name__.lower()}-{run}": stack.enter_context(Served(cls))
            for cls in (Echo, Count, Tint)
        }
        for server in served.values():
            server.wait_settled(30)
        yield {name: server.url for name, server in served.items()}


@pytest.fixture
async def names(containers: dict[str, str]) -> AsyncIterator[dict[str, str]]:
    """Registered capabilities by the name of their class."""
    headers = {"Authorization": SECRET}
    async with aiohttp.ClientSession(headers=headers) as session:
        for name, url in containers.items():
            record = {"name": name, "url": url, "capacity": 8, "price_per_unit": 0}
            async with session.post(
                f"{ORCH}/capability/register", json=record, ssl=False
            ) as response:
                assert response.status == 200, await response.text()
        yield {name.split("-")[1]: name for name in containers}
        for name in containers:
            async with session.post(f"{ORCH}/capability/unregister", data=name, ssl=False):
                pass


@pytest.fixture(
    params=[
        "orchestrator",
        pytest.param(
            "gateway",
            marks=pytest.mark.skipif(
                not GATEWAY, reason="not run: LIVEPEER_INTEROP_GATEWAY_URL names no gateway"
            ),
        ),
    ]
)
async def gw(request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    place = {"orch_url": ORCH} if request.param == "orchestrator" else {"gateway_url": GATEWAY}
    async with Gateway(**place, tls="insecure", timeout=30) as gw:  # type: ignore[arg-type]
        yield gw


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_run_and_stream(gw: Gateway, names: dict[str, str], sync: bool) -> None:
    values = [{"i": i, "text": "[DONE]"} for i in range(3)]
    call = {"to": 3, "text": "[DONE]"}
    if sync:

        def stream() -> list[Any]:
            with gw.stream(names["count"], input=call) as events:
                return [event.json() for event in events]

        assert await asyncio.to_thread(gw.run, names["echo"], input={"text": "é"}) == {"text": "é"}
        assert await asyncio.to_thread(stream) == values
    else:
        assert await gw.run_async(names["echo"], input={"text": "é"}) == {"text": "é"}
        async with gw.stream_async(names["count"], input=call) as events:
            assert [event.json() async for event in events] == values
    assert await gw.run_async(names["count"], input=call) == values


async def test_errors(gw: Gateway, names: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await gw.run_async(names["echo"], input={"text": 7}, validate=False)
    assert [field.field for field in caught.value.fields] == ["text"]
    with pytest.raises(NoOrchestratorError):
        await gw.run_async(f"interop-nobody-{uuid.uuid4().hex}")


async def test_live(names: dict[str, str]) -> None:
    async def pictures() -> AsyncIterator[Any]:
        while True:
            yield np.full((96, 160, 3), 100, np.uint8)

    async with (
        Gateway(orch_url=ORCH, tls="insecure", timeout=30) as gw,
        gw.live(names["tint"], params={"u": 90}) as session,
        asyncio.timeout(LIMIT),
    ):
        session.publish(pictures())
        async for record in session.data():
            assert record == {"u": 90}
            break
        frames = session.subscribe()
        async for frame in frames:
            assert abs(float(np.mean(frame.planes[1])) - 90) < 4  # type: ignore[union-attr]
            break
        with pytest.raises(InvalidInputError):
            await session.update({"u": 999})
        await session.update({"u": 200})
        async for frame in frames:
            if abs(float(np.mean(frame.planes[1])) - 200) < 4:  # type: ignore[union-attr]
                break
        assert session.ended is None
