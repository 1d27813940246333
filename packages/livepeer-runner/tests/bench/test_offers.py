"""What an orchestrator offers, measured through it as its callers call it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livepeer.runner import LivePipeline, Pipeline
from livepeer.runner.bench.live.measure import LivePlan
from livepeer.runner.bench.live.shot import Shot
from livepeer.runner.bench.measure import measure_offer, measure_open
from livepeer.runner.bench.plan import BenchError, Plan
from livepeer.runner.bench.road import through
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.secret import Secret
from livepeer.runner.settings import OrchestratorAddress, RegistrationSettings
from livepeer.runner.targets.hosting import OpenTarget
from livepeer.runner.targets.offer import ForeignChannel, OrchestratorOffer, offer_of
from livepeer.runner.targets.reference import TargetError
from livepeer.trickle.media import VideoFrame

if TYPE_CHECKING:
    from conftest import Serve, Served

STREAMS = LivePlan(shot=Shot(320, 180, 15), null=False, duration=1.0)


class Shouts(Pipeline):
    capacity = 8

    def predict(self, text: str = "hello") -> str:
        return text.upper()


class Returns(LivePipeline):
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


@pytest.mark.parametrize(
    "url", ["https://evil.example/in", "http://127.0.0.1:8936/in", "https://127.0.0.1:8935/in"]
)
def test_a_channel_elsewhere_than_at_the_orchestrator_is_not_opened(url: str) -> None:
    """Another host, another port, another scheme."""
    offer = OrchestratorOffer("http://127.0.0.1:8935", "app", "persistent")
    assert offer.channels({"in": "http://127.0.0.1:8935/in", "out": 7}) == {
        "in": "http://127.0.0.1:8935/in"
    }
    with pytest.raises(ForeignChannel, match="not at the orchestrator"):
        offer.channels({"in": url})


@asynccontextmanager
async def offered(
    served: Serve, cls: Any, kind: Any, **more: Any
) -> AsyncIterator[tuple[str, Served]]:
    async with LocalOrchestrator() as one:
        address = OrchestratorAddress(one.url, Secret(one.secret))
        settings = RegistrationSettings((address,), kind=kind, **more)
        async with served(cls, registration=settings) as target:
            async with asyncio.timeout(30):
                await target.service.registration.settled()
            yield one.url, target


@pytest.mark.parametrize("kind", ["byoc", "live-runner"])
async def test_calls_go_through_the_orchestrator(served: Serve, kind: str) -> None:
    async with offered(served, Shouts, kind) as (url, _):
        report = await measure_offer(url, "shouts", Plan(rates=[30], duration=0.3, warmup=0.0))
    (load,) = report.loads
    assert load.outcomes == {"ok": load.calls} and report.pipeline == "shouts"
    assert report.cold is None and load.usage is None


@pytest.mark.parametrize("kind", ["byoc", "live-runner"])
async def test_streams_go_through_the_orchestrator(served: Serve, kind: str) -> None:
    async with offered(served, Returns, kind) as (url, target):
        report = await measure_offer(url, "returns", Plan(warmup=0.2, live=STREAMS))
        assert report.live is not None
        (one,) = report.live.steps[0].each
        assert (one.sent, one.matched_by, one.ended) == (15, "number", "") and one.received > 0
        async with asyncio.timeout(30):  # nothing stays: neither the stream nor its session
            while target.slots_taken:  # noqa: ASYNC110 — there is no event for it
                await asyncio.sleep(0.01)


async def test_what_has_a_price_is_paid_by_its_seam_or_refused(served: Serve) -> None:
    """The orchestrator of the test takes no money: what is paid with is only seen to go along."""
    paid: list[OrchestratorOffer] = []

    async def pay(offer: OrchestratorOffer) -> Mapping[str, str]:
        paid.append(offer)
        return {"Livepeer-Payment": "some"}

    plan = Plan(rates=[30], duration=0.3, warmup=0.0)
    async with offered(served, Shouts, "live-runner") as (url, target):
        async with aiohttp.ClientSession() as session:
            offer = replace(await offer_of(url, "shouts", session), price="2.5")
        with pytest.raises(TargetError, match=r"costs 2\.5 there, and this command pays nothing"):
            async with through(offer):
                raise AssertionError("not reached")
        async with through(offer, pay) as road:
            report = await measure_open(OpenTarget(url), "shouts", plan, road=road)
        assert len(paid) == report.loads[0].calls + 2 and set(paid) == {offer}
        with pytest.raises(TargetError, match="offers neither an app nor a capability 'nothing'"):
            await measure_offer(url, "nothing", plan)
        with pytest.raises(BenchError, match="has no streams"):
            await measure_offer(url, "shouts", Plan(streams=True))
        here = f"http://127.0.0.1:{target.port}"
        with pytest.raises(TargetError, match="answered 404 for a token: is it an orchestrator"):
            await measure_offer(here, "shouts", plan)


@pytest.mark.parametrize(
    ("listed", "token", "price"),
    [
        ({"price_info": {"price": "0.002", "unit": "hour"}}, {}, "0.002"),
        ({"price_info": {"price": "0"}}, {}, ""),
        ({"price_info": None}, {}, ""),
        (None, {"price": {"pricePerUnit": 7, "pixelsPerUnit": 1}}, "7"),
        (None, {"price": {"pixelsPerUnit": 1}}, ""),
        (None, {"price": {"pricePerUnit": {"a": 1}}}, "{'a': 1}"),
    ],
)
async def test_a_price_is_what_is_not_plainly_free(
    listed: dict[str, Any] | None, token: dict[str, Any], price: str
) -> None:
    """Prices as go-livepeer writes them; the local orchestrator shows none."""
    app = web.Application()

    async def discovery(_: web.Request) -> web.Response:
        runner = {
            "app": "x",
            "url": "https://h/apps/x/app",
            "mode": "single-shot",
            **(listed or {}),
        }
        return web.json_response([{"runners": [] if listed is None else [runner]}])

    async def tokens(_: web.Request) -> web.Response:
        return web.json_response({"available_capacity": 1, **token})

    app.router.add_get("/discovery", discovery)
    app.router.add_get("/process/token", tokens)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        offer = await offer_of(str(server.make_url("")).rstrip("/"), "x", session)
    assert offer.price == price and offer.kind == (
        "capability" if listed is None else "single-shot"
    )
