"""A live pipeline at a local orchestrator, over TLS whose certificate is pinned, to real media."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import BaseModel, Field

from livepeer.runner import LivePipeline, VideoFrame
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.environment import Secret
from livepeer.runner.settings import OrchestratorAddress, RegistrationSettings
from livepeer.trickle import JSONLPublisher, JSONLSubscriber, TricklePublisher
from livepeer.trickle.media import MediaPublisher, MediaSubscriber

LIMIT = 30
STREAM = "s1"


class TintParams(BaseModel):
    u: int = Field(128, ge=0, le=255)


class Tint(LivePipeline):
    params: TintParams

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        frame.planes[1][:] = self.params.u
        self.emit_data({"u": self.params.u})
        return frame


@pytest.fixture
async def orchestrator() -> AsyncIterator[LocalOrchestrator]:
    async with LocalOrchestrator() as one:
        yield one


def at(orchestrator: LocalOrchestrator) -> RegistrationSettings:
    address = OrchestratorAddress(orchestrator.url, Secret(orchestrator.secret))
    return RegistrationSettings((address,))


class Caller:
    """Who calls a capability of an orchestrator, with plain HTTP."""

    def __init__(self, orchestrator: LocalOrchestrator, http: httpx.AsyncClient) -> None:
        self._orchestrator = orchestrator
        self._http = http

    async def post(
        self, route: str, content: Any, *, stream: str = STREAM, **parameters: Any
    ) -> httpx.Response:
        header = {
            "id": stream,
            "request": json.dumps({"stream_id": stream}),
            "parameters": json.dumps(parameters),
            "capability": "tint",
            "sender": "0x0000000000000000000000000000000000000001",
            "sig": "00",
            "timeout_seconds": 20,
        }
        encoded = base64.b64encode(json.dumps(header).encode()).decode()
        url = f"{self._orchestrator.url}/ai/stream/{route}"
        return await self._http.post(url, headers={"Livepeer": encoded}, json=content)


@pytest.fixture
async def caller(orchestrator: LocalOrchestrator) -> AsyncIterator[Caller]:
    async with httpx.AsyncClient(verify=False, timeout=LIMIT, trust_env=False) as http:
        yield Caller(orchestrator, http)


ALL = {"enable_video_ingress": True, "enable_video_egress": True, "enable_data_output": True}


async def registered(s: Any) -> None:
    async with asyncio.timeout(LIMIT):
        await s.service.registration.settled()


async def colours(url: str, seen: list[float], changed: asyncio.Event) -> None:
    async with MediaSubscriber(url, policy="all", start=0, tls=False) as frames:
        async for frame in frames:
            if isinstance(frame, VideoFrame):
                seen.append(float(np.mean(frame.view()[1])))
                changed.set()


async def shows(u: int, seen: list[float], changed: asyncio.Event) -> None:
    async with asyncio.timeout(LIMIT):
        while not seen or abs(seen[-1] - u) > 3:
            changed.clear()
            await changed.wait()


async def test_a_stream_runs_through_an_orchestrator_from_start_to_stop(
    served: Any, orchestrator: LocalOrchestrator, caller: Caller, make_clip: Any
) -> None:
    async with served(Tint, registration=at(orchestrator)) as s:
        await registered(s)
        started = await caller.post("start", {"params": {"u": 60}}, **ALL)
        assert started.status_code == 200
        urls = started.headers
        assert s.service.work.tls is s.service.registration.tls
        assert s.slots_taken == 1
        seen: list[float] = []
        changed = asyncio.Event()
        output = asyncio.create_task(colours(urls["X-Subscribe-Url"], seen, changed))
        events = asyncio.create_task(read(urls["X-Events-Url"]))
        feeding = asyncio.create_task(feed(urls["X-Publish-Url"], make_clip(2000)))
        await shows(60, seen, changed)

        updated = await caller.post("update", {"u": 200})
        assert updated.status_code == 200
        assert updated.json()["params"] == {"u": 200}
        await shows(200, seen, changed)

        refused = await caller.post("update", {"u": 999})
        assert refused.status_code == 422

        async with JSONLPublisher(
            urls["X-Control-Url"], one_per_segment=True, delete_on_close=False, tls=False
        ) as control:
            await control.write({"keep": "alive"})
            await control.write({"u": 90})
        await shows(90, seen, changed)

        assert (await caller.post("stop", {})).status_code == 200
        await s.until(lambda: s.slots_taken == 0)
        async with asyncio.timeout(LIMIT):
            await output
            told = await events
        feeding.cancel()
        await asyncio.wait([feeding])
        kinds = [event["type"] for event in told]
        assert kinds[0] == "status"
        assert "error" in kinds  # of the update that was refused
        assert told[-1]["type"] == "stream_ended"
        assert told[-1]["reason"] == "it was stopped"
        assert (await caller.post("update", {"u": 1})).status_code == 404
        assert (await caller.post("stop", {})).status_code == 200
        await s.until(lambda: orchestrator.capabilities.available("tint") == 1)


async def feed(url: str, frames: Any) -> None:
    channel = TricklePublisher(url, linger=0.1, tls=False)
    async with MediaPublisher(url, publisher=channel) as publisher:
        for frame in frames:
            await publisher.write(frame)
            await asyncio.sleep(0.02)


async def read(url: str) -> list[dict[str, Any]]:
    async with JSONLSubscriber(url, start=0, tls=False) as records:
        return [record async for record in records]


async def test_a_caller_cannot_send_a_registered_container_elsewhere(
    served: Any, orchestrator: LocalOrchestrator, caller: Caller
) -> None:
    async with served(Tint, registration=at(orchestrator)) as s:
        await registered(s)
        for name in ("control_url", "events_url", "publish_url", "subscribe_url", "data_url"):
            refused = await caller.post("start", {name: "https://elsewhere.example/ai/trickle/x"})
            assert refused.status_code == 422
            assert "LIVEPEER_TRICKLE_HOSTS" in refused.text
            assert name in refused.text
        assert s.slots_taken == 0
        assert orchestrator.capabilities.available("tint") == 1


async def test_other_hosts_are_taken_where_the_operator_allows_them(
    served: Any, orchestrator: LocalOrchestrator, caller: Caller
) -> None:
    async with served(
        Tint, registration=at(orchestrator), trickle_hosts=("elsewhere.example",)
    ) as s:
        await registered(s)
        url = "https://elsewhere.example/ai/trickle/x"
        assert (await caller.post("start", {"data_url": url})).status_code == 200
        await caller.post("stop", {})
        await s.until(lambda: s.slots_taken == 0)


async def test_only_the_orchestrator_may_call_a_registered_container(
    served: Any, orchestrator: LocalOrchestrator
) -> None:
    async with served(Tint, registration=at(orchestrator)) as s:
        await registered(s)
        for route in ("start", "params", "stop"):
            assert (await s.http.post(f"/stream/{route}", json={})).status_code == 401
        assert s.slots_taken == 0


async def test_a_running_stream_counts_as_work_so_that_nothing_is_registered_again_amid_it(
    served: Any, orchestrator: LocalOrchestrator, caller: Caller
) -> None:
    async with served(Tint, registration=at(orchestrator)) as s:
        await registered(s)
        await caller.post("start", {})
        (known,) = s.service.registration.callers
        assert known.in_flight == 1
        await caller.post("stop", {})
        await s.until(lambda: known.in_flight == 0)


class Waits(Tint):
    pipeline_id = "tint"
    queue_size = 4
    queue_timeout = 60.0


async def test_a_start_that_its_caller_gives_up_takes_no_place_anywhere(
    served: Any, orchestrator: LocalOrchestrator, caller: Caller
) -> None:
    async with served(Waits, registration=at(orchestrator)) as s:
        await registered(s)
        assert (await caller.post("start", {})).status_code == 200
        slots = s.service.lifecycle.slots
        given_up = asyncio.create_task(caller.post("start", {}, stream="s2", **ALL))
        await s.until(lambda: slots.waiting == 1)
        assert orchestrator.capabilities.available("tint") == 0
        given_up.cancel()  # closes its connection, as a caller's time limit does
        await asyncio.wait([given_up])
        await s.until(lambda: slots.waiting == 0)
        await s.until(lambda: orchestrator.trickle.get("s2-control") is None)
        await caller.post("stop", {})
        await s.until(lambda: orchestrator.capabilities.available("tint") == 1)
        assert s.slots_taken == 0
        assert not s.service.work.sessions.running
