"""Verb by road by sync or async: our client, our orchestrator or gateway over TLS, our runner."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import aiohttp
import numpy as np
import pytest
from PIL import Image as Pictures
from pydantic import BaseModel

from livepeer.client import (
    CallTimeoutError,
    ConfigurationError,
    FileOutput,
    Gateway,
    InvalidInputError,
    NoCapacityError,
    NoOrchestratorError,
    PipelineError,
    ProtocolError,
)
from livepeer.runner import Image, Pipeline, create_app
from livepeer.runner.devnet import LocalGateway, LocalOrchestrator
from livepeer.runner.settings import Settings
from livepeer.runner.testing import LocalServer

LIMIT = 120.0
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f64540"
    "0000000049454e44ae426082"
)


class Reply(BaseModel):
    label: Literal["positive", "negative"]
    score: float


class Sentiment(Pipeline):
    """Tell whether a text is positive."""

    capacity = 4

    def predict(self, text: str, times: int = 1) -> Reply:
        if text == "boom":
            raise RuntimeError("a bug that callers must not see")
        if text == "told":
            from livepeer.runner.errors import PipelineError

            raise PipelineError("out of memory")
        return Reply(label="positive", score=len(text) / 10 * times)


class Count(Pipeline):
    """Count, one event for each number; negative numbers fail in the middle."""

    capacity = 4

    async def predict(self, to: int, text: str = "x") -> AsyncIterator[dict[str, Any]]:
        for i in range(abs(to)):
            yield {"i": i, "text": text}
        if to < 0:
            from livepeer.runner.errors import PipelineError

            raise PipelineError("it broke")


class Endless(Pipeline):
    """Counts until its caller leaves."""

    stopped = 0

    async def predict(self) -> AsyncIterator[dict[str, int]]:
        i = 0
        try:
            while True:
                yield {"i": i}
                i += 1
                await asyncio.sleep(0.005)
        finally:
            type(self).stopped += 1


class Picture(Pipeline):
    """Give a picture back."""

    def predict(self, image: Image) -> Image:
        return image


class Busy(Pipeline):
    """Has no room."""

    def predict(self) -> str:
        from livepeer.runner.errors import OverCapacity

        raise OverCapacity("every slot is taken", retry_after=7)


class Slow(Pipeline):
    """Takes longer than it is allowed to."""

    timeout = 0.2

    async def predict(self) -> str:
        await asyncio.sleep(30)
        return "late"


PIPELINES = {
    "sentiment": Sentiment,
    "count": Count,
    "endless": Endless,
    "picture": Picture,
    "busy": Busy,
    "slow": Slow,
}


@pytest.fixture(scope="module")
def containers() -> Iterator[dict[str, str]]:
    """Each pipeline served, by the name of its capability."""
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(LocalServer(create_app(cls, Settings())))
            for name, cls in PIPELINES.items()
        }
        for server in servers.values():
            server.wait_settled(30)
        yield {name: server.url for name, server in servers.items()}


@pytest.fixture
async def orchestrator(containers: dict[str, str]) -> AsyncIterator[LocalOrchestrator]:
    async with LocalOrchestrator() as orchestrator, aiohttp.ClientSession() as session:
        for name, url in containers.items():
            async with session.post(
                f"{orchestrator.url}/capability/register",
                headers={"Authorization": orchestrator.secret},
                json={"name": name, "url": url, "capacity": 4, "price_per_unit": 0},
                ssl=False,
            ) as response:
                assert response.status == 200
        yield orchestrator


@pytest.fixture(params=["orchestrator", "gateway"])
async def gw(
    request: pytest.FixtureRequest,
    orchestrator: LocalOrchestrator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> AsyncIterator[Gateway]:
    """A client by each road."""
    monkeypatch.setenv("LIVEPEER_PINS", str(tmp_path / "pins.json"))
    if request.param == "orchestrator":
        async with Gateway(orch_url=orchestrator.url, tls="pin", timeout=20) as gw:
            yield gw
    else:
        async with LocalGateway([orchestrator.url]) as gateway:
            async with Gateway(gateway_url=gateway.url, timeout=20) as gw:
                yield gw


@pytest.fixture(params=["sync", "async"])
def verbs(request: pytest.FixtureRequest, gw: Gateway) -> Verbs:
    return Verbs(gw, request.param == "sync")


class Verbs:
    """The same call by the sync and by the async method."""

    def __init__(self, gw: Gateway, sync: bool) -> None:
        self.gw, self.sync = gw, sync
        self.by_gateway = "gateway_url" in repr(gw)

    async def run(self, capability: str, **call: Any) -> Any:
        async with asyncio.timeout(LIMIT):
            if self.sync:
                return await asyncio.to_thread(lambda: self.gw.run(capability, **call))
            return await self.gw.run_async(capability, **call)

    async def stream(self, capability: str, *, most: int = 1 << 30, **call: Any) -> list[Any]:
        found: list[Any] = []

        def sync() -> None:
            with self.gw.stream(capability, **call) as events:
                for event in events:
                    found.append(event.json())
                    if len(found) == most:
                        break

        async with asyncio.timeout(LIMIT):
            if self.sync:
                await asyncio.to_thread(sync)
                return found
            async with self.gw.stream_async(capability, **call) as events:
                async for event in events:
                    found.append(event.json())
                    if len(found) == most:
                        break
        return found


async def test_run_gives_the_pipelines_value(verbs: Verbs) -> None:
    result = {"label": "positive", "score": 0.5}
    assert await verbs.run("sentiment", input={"text": "hello"}) == result
    assert await verbs.run("sentiment", input={"text": "hello"}, output=Reply) == Reply(**result)


async def test_run_carries_files_both_ways(verbs: Verbs, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    for image in (path, PNG):
        file = await verbs.run("picture", input={"image": image})
        assert isinstance(file, FileOutput)
        assert (file.data, file.media_type) == (PNG, "image/png")


async def test_pictures_of_numpy_and_pil_arrive_as_they_are(verbs: Verbs) -> None:
    picture = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    for image in (picture, Pictures.fromarray(picture)):
        file = await verbs.run("picture", input={"image": image})
        assert file.media_type == "image/png"
        assert np.array_equal(np.asarray(Pictures.open(io.BytesIO(file.data))), picture)


async def test_run_collects_a_stream_and_stream_gives_a_value_as_one_event(verbs: Verbs) -> None:
    values = [{"i": 0, "text": "x"}, {"i": 1, "text": "x"}]
    assert await verbs.run("count", input={"to": 2}) == values
    assert await verbs.stream("sentiment", input={"text": ""}) == [
        {"label": "positive", "score": 0.0}
    ]


@pytest.mark.parametrize("text", ["[DONE]", "é✓\n\r", "x" * 200_000], ids=["done", "utf8", "long"])
async def test_stream_gives_every_event_whatever_is_in_it(verbs: Verbs, text: str) -> None:
    call = {"input": {"to": 3, "text": text}}
    assert await verbs.stream("count", **call) == [{"i": i, "text": text} for i in range(3)]


async def test_leaving_a_stream_stops_the_pipeline(verbs: Verbs) -> None:
    before = Endless.stopped
    assert len(await verbs.stream("endless", most=3)) == 3
    async with asyncio.timeout(20):
        while Endless.stopped == before:  # noqa: ASYNC110 — it runs in the container's thread
            await asyncio.sleep(0.01)


async def test_wrong_input_comes_back_with_its_fields(verbs: Verbs) -> None:
    wrong = {"text": 7, "times": "no"}
    for validate in (None, False):
        with pytest.raises(InvalidInputError) as caught:
            await verbs.run("sentiment", input=wrong, validate=validate)
        assert {field.field for field in caught.value.fields} == {"text", "times"}
        assert not caught.value.may_have_run
    with pytest.raises(InvalidInputError):
        await verbs.stream("sentiment", input=wrong, validate=False)


async def test_a_failing_pipeline_is_as_clear_as_the_road_allows(verbs: Verbs) -> None:
    for text in ("boom", "told"):
        with pytest.raises((PipelineError, ProtocolError)) as caught:
            await verbs.run("sentiment", input={"text": text})
        assert caught.value.may_have_run and caught.value.rejections
        assert "must not see" not in str(caught.value)
        if verbs.by_gateway:  # which answers an empty 200
            assert isinstance(caught.value, ProtocolError)
        elif text == "told":
            assert "out of memory" in str(caught.value)


async def test_an_error_in_a_stream_keeps_what_came_before(verbs: Verbs) -> None:
    with pytest.raises(PipelineError, match="it broke") as caught:
        await verbs.run("count", input={"to": -2})
    assert [value["i"] for value in caught.value.received] == [0, 1]


async def test_no_room_and_nobody_there_are_told_apart_where_the_road_tells(verbs: Verbs) -> None:
    with pytest.raises(NoOrchestratorError) as caught:
        await verbs.run("never-registered")
    assert isinstance(caught.value, NoCapacityError) is not verbs.by_gateway
    if not verbs.by_gateway:
        with pytest.raises(NoCapacityError) as full:
            await verbs.run("busy", max_retries=0)
        assert full.value.retry_after == 7
        with pytest.raises(CallTimeoutError) as late:
            await verbs.run("slow")
        assert late.value.phase == "pipeline"


async def test_many_calls_at_once_each_get_their_own_result(verbs: Verbs) -> None:
    async def one(i: int) -> Any:
        while True:
            try:
                return await verbs.run("sentiment", input={"text": "x" * i}, validate=False)
            except (NoOrchestratorError, ProtocolError):  # four run at once, the others try again
                await asyncio.sleep(0.02)

    results = await asyncio.gather(*(one(i) for i in range(12)))
    assert [round(result["score"] * 10) for result in results] == list(range(12))


async def test_a_gateway_cannot_be_asked_who_has_room(orchestrator: LocalOrchestrator) -> None:
    async with LocalGateway([orchestrator.url]) as gateway:
        async with Gateway(gateway_url=gateway.url) as gw:
            for names in (None, ["sentiment"]):
                with pytest.raises(ConfigurationError, match="ask orchestrators"):
                    await gw.capabilities_async(names)
            schema = await gw.schema_async("sentiment")
            assert schema is not None and schema.document["id"] == "sentiment"


async def test_schema_and_capabilities(orchestrator: LocalOrchestrator) -> None:
    async with Gateway(orch_url=orchestrator.url, tls="insecure") as gw:
        schema = await gw.schema_async("sentiment")
        assert schema is not None and schema.document["id"] == "sentiment"
        assert set(schema.input["properties"]) == {"text", "times"}
        found = await gw.capabilities_async(["sentiment", "never-registered"])
        assert [(info.name, info.available, info.capacity) for info in found] == [
            ("sentiment", True, 4),
            ("never-registered", False, 0),
        ]
        assert found[0].price == 0 and found[1].price is None
