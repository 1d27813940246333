"""The client's calls to live runners of the local network: a plain HTTP service behind each."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from livepeer.client import (
    Gateway,
    InvalidInputError,
    LivepeerError,
    NoCapacityError,
    NoOrchestratorError,
    PaymentRequiredError,
)
from livepeer.client.http.requests import Http
from livepeer.client.network import runner_lists
from livepeer.client.protocol.discovery import RUNNERS, place_in, runners_in
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.registration import Capability, Registration

from .live_runners import App, gateway, heartbeat, reserved, serving, until


async def test_run_and_stream_reach_a_single_shot_runner_and_leave_no_session() -> None:
    async with LocalOrchestrator() as orchestrator, serving() as app:
        await heartbeat(orchestrator, app)
        async with gateway(orchestrator) as gw:
            told = await gw.run_async("test/app", input={"x": 1})
            assert told == {"path": "/base/predict", "body": '{"x":1}'}
            events = [each async for each in gw.stream_async("test/app", input={}, route="events")]
            assert [each.json() for each in events] == [{"n": 1}]
            with pytest.raises(LivepeerError, match="no"):
                await gw.run_async("test/app", input={}, route="broken")
        await until(lambda: not reserved(orchestrator))


async def test_a_full_runner_has_no_room_and_has_it_again_afterwards() -> None:
    async with LocalOrchestrator() as orchestrator, serving() as app:
        await heartbeat(orchestrator, app)
        app.hold = asyncio.Event()
        async with gateway(orchestrator) as gw:
            first = asyncio.create_task(gw.run_async("test/app", input={}, validate=False))
            await until(lambda: reserved(orchestrator) == 1)
            async with gateway(orchestrator) as other:
                with pytest.raises(NoCapacityError):
                    await other.run_async("test/app", input={}, max_retries=0, validate=False)
            app.hold.set()
            assert (await first)["path"] == "/base/predict"
            assert (await gw.run_async("test/app", input={}))["path"] == "/base/predict"


async def test_the_runner_with_room_is_asked_and_one_that_is_gone_is_passed_over() -> None:
    async with LocalOrchestrator() as orchestrator, serving() as first, serving() as second:
        await heartbeat(orchestrator, first, runner_id="a", capacity=2)
        await heartbeat(orchestrator, second, runner_id="b", capacity=1)
        async with gateway(orchestrator) as gw:
            await gw.run_async("test/app", input={}, validate=False)
            assert first.asked and not second.asked
            # Its places are hidden from one moment to the next; the list is still in the cache.
            await _draining(orchestrator, "a")
            await gw.run_async("test/app", input={}, validate=False)
            assert second.asked


async def _draining(orchestrator: LocalOrchestrator, name: str) -> None:
    from dataclasses import replace

    (runner,) = [each for each in orchestrator.runners if each.id == name]
    runner.announce(replace(runner.says, status="draining"), runner.seen)


async def test_a_persistent_runner_is_no_place_for_run() -> None:
    async with LocalOrchestrator() as orchestrator, serving() as app:
        await heartbeat(orchestrator, app, mode="persistent")
        async with gateway(orchestrator) as gw:
            with pytest.raises(InvalidInputError, match=r"call it with live\(\)"):
                await gw.run_async("test/app", input={})
        assert not app.asked and not reserved(orchestrator)


async def test_an_app_in_both_registries_is_called_through_the_one_that_takes_the_call() -> None:
    async with LocalOrchestrator() as orchestrator, serving(LiveApp()) as app:
        await heartbeat(orchestrator, app, mode="persistent")
        capability = Capability(name="test/app", url=app.url, capacity=2)
        async with Registration(
            orchestrator.url, orchestrator.secret, capability=capability, tls="insecure"
        ) as registration:
            await registration.settled()
            async with gateway(orchestrator) as gw:
                assert (await gw.run_async("test/app", input={}))["path"] == "/base/predict"
                async with gw.live("test/app"):
                    assert reserved(orchestrator) == 1
                assert (await gw.run_async("test/app", input={}))["path"] == "/base/predict"


async def test_a_name_that_nobody_has_is_asked_of_both_registries() -> None:
    async with LocalOrchestrator() as orchestrator, serving() as app:
        await heartbeat(orchestrator, app)
        async with gateway(orchestrator) as gw:
            with pytest.raises((NoCapacityError, NoOrchestratorError)):
                await gw.run_async("other/app", input={}, max_retries=0)
            infos = await gw.capabilities_async(["test/app"])
        (offer,) = infos[0].offers
        assert (offer.mode, offer.capacity, offer.free) == ("single-shot", 1, True)


def entry(**more: Any) -> dict[str, Any]:
    usual = {"url": "https://o/apps/a/app", "app": "x", "mode": "single-shot"}
    return usual | {"capacity_available": 1} | more


@pytest.mark.parametrize(
    "bad",
    [
        {"url": "https://o/apps/../app"},
        {"url": "https://o/elsewhere"},
        {"url": 7},
        {"url": "https://o/apps/a/app" + "x" * 3000},
        {"app": ["x"]},
        {"app": "a\nb"},
        {"app": "x" * 501},
        {"mode": "both"},
        {"capacity_available": "1"},
        {"capacity_available": 1 << 70},
        {"price_info": {"price": "1e999999999"}},
        {"price_info": 5},
    ],
)
def test_an_entry_that_is_none_is_left_out(bad: dict[str, Any]) -> None:
    assert len(runners_in([{"address": "https://o", "runners": [entry(), entry(**bad)]}])) == 1


def test_a_discovery_is_bounded_and_only_paths_are_taken_from_it() -> None:
    many = [{"runners": [entry()] * (RUNNERS + 5)}] * 3
    assert len(runners_in(many)) == RUNNERS
    (one,) = runners_in([{"runners": [entry(url="http://elsewhere.test:1/apps/a/app")]}])
    assert one.path == "/apps/a/app"
    for nothing in (None, {}, "", [None], [{"runners": 5}], [{"runners": [5]}], [[]]):
        assert runners_in(nothing) == ()
    place = place_in(
        {
            "app_url": "http://elsewhere.test/apps/a/session/s3cret/app",
            "control_url": "http://elsewhere.test/apps/a/session/s3cret",
        }
    )
    assert place is not None and "s3cret" not in repr(place)
    assert place.control == "/apps/a/session/s3cret"
    assert place_in({"app_url": "x"}) is None


async def test_a_price_is_refused_and_says_so() -> None:
    async def discovery(request: web.Request) -> web.StreamResponse:
        priced = entry(price_info={"price": 7, "currency": "wei", "unit": "seconds"})
        return web.json_response([{"address": "https://o", "runners": [priced]}])

    site = web.Application()
    site.router.add_get("/discovery", discovery)
    runner = web.AppRunner(site, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with Gateway(orch_url=url) as gw:
            with pytest.raises(PaymentRequiredError, match="no means to pay"):
                await gw.run_async("x", input={}, max_retries=0)
    finally:
        await runner.cleanup()


class LiveApp(App):
    """A live pipeline in the least code: it opens its channels by the session's control URL."""

    def __init__(self) -> None:
        super().__init__()
        self.hang_at_start = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if not request.path.endswith("/stream/start"):
            return web.json_response({"path": request.path})
        if self.hang_at_start:
            await asyncio.sleep(3600)
        names = ("in", "out", "events", "data", "control")
        connector = aiohttp.TCPConnector(ssl=False)
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.post(
                request.headers["Livepeer-Session-Control"] + "/channels",
                json={"channels": [{"name": name, "mime_type": "a/b"} for name in names]},
                headers={"Livepeer-Session-Token": request.headers["Livepeer-Session-Token"]},
            ) as reply,
        ):
            assert reply.status == 200, await reply.text()
            opened = (await reply.json())["channels"]
        urls = {each["name"]: each["url"] for each in opened}
        name = request.headers["Livepeer-Session-Id"]
        return web.json_response({"stream_id": name, "channels": urls})


async def test_a_live_session_is_reserved_used_and_released() -> None:
    async with LocalOrchestrator() as orchestrator, serving(LiveApp()) as app:
        await heartbeat(orchestrator, app, mode="persistent")
        async with gateway(orchestrator) as gw:
            async with gw.live("test/app", params={"x": 1}) as session:
                assert session.orchestrator == orchestrator.url
                ((name,),) = (each.sessions for each in orchestrator.runners)
                assert name not in repr(session) and name != session.stream_id
                assert reserved(orchestrator) == 1
                await session.update({"x": 2})
            assert not reserved(orchestrator)
        paths = [path.removeprefix("/base") for path in app.asked if "/stream/" in path]
        assert paths == ["/stream/start", "/stream/params", "/stream/stop"]


async def test_who_was_listed_a_moment_ago_is_reserved_without_a_question_and_asked_for_if_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner_lists, "LISTED_SECONDS", 0.0)
    asked: list[str] = []
    fetch = Http.fetch

    async def counted(http: Http, method: str, url: str, **more: Any) -> Any:
        asked.append(url.rpartition("/")[2])
        return await fetch(http, method, url, **more)

    monkeypatch.setattr(Http, "fetch", counted)
    async with LocalOrchestrator() as orchestrator, serving(LiveApp()) as app:
        await heartbeat(orchestrator, app, mode="persistent")
        async with gateway(orchestrator, max_retries=0) as gw:
            for _ in range(2):
                async with gw.live("test/app"):
                    assert reserved(orchestrator) == 1
            assert asked.count("discovery") == 1
            # It has left, and come back under another id, as after a restart.
            await _draining(orchestrator, "one")
            await heartbeat(orchestrator, app, runner_id="two", mode="persistent")
            async with gw.live("test/app"):
                assert reserved(orchestrator) == 1
            assert asked.count("discovery") == 2
        assert not reserved(orchestrator)


async def test_a_single_shot_runner_is_no_place_for_live() -> None:
    async with LocalOrchestrator() as orchestrator, serving() as app:
        await heartbeat(orchestrator, app)
        async with gateway(orchestrator) as gw:
            with pytest.raises(InvalidInputError, match="call it with run"):
                await gw.live("test/app").__aenter__()
        assert not app.asked


async def test_a_start_that_is_refused_leaves_no_session() -> None:
    async with LocalOrchestrator() as orchestrator, serving() as app:  # it names no channels
        await heartbeat(orchestrator, app, mode="persistent")
        async with gateway(orchestrator) as gw:
            with pytest.raises(LivepeerError, match="names no channels"):
                await gw.live("test/app").__aenter__()
            await until(lambda: not reserved(orchestrator))


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 12, 20, 40, 80, None])
async def test_a_start_that_is_cancelled_leaves_no_session(turns: int | None) -> None:
    async with LocalOrchestrator() as orchestrator, serving(LiveApp()) as app:
        assert isinstance(app, LiveApp)
        app.hang_at_start = turns is None
        await heartbeat(orchestrator, app, mode="persistent")
        async with gateway(orchestrator) as gw:
            live = gw.live("test/app")
            starting = asyncio.create_task(live.__aenter__())
            if turns is None:
                await until(lambda: any("/stream/start" in each for each in app.asked))
            for _ in range(turns or 0):
                await asyncio.sleep(0)
            starting.cancel()
            await asyncio.wait([starting])
            if not starting.cancelled():
                await live.aclose()
        await until(lambda: not reserved(orchestrator))


async def test_a_start_that_is_too_late_leaves_no_session() -> None:
    async with LocalOrchestrator() as orchestrator, serving(LiveApp()) as app:
        assert isinstance(app, LiveApp)
        app.hang_at_start = True
        await heartbeat(orchestrator, app, mode="persistent")
        async with gateway(orchestrator) as gw:
            with pytest.raises(TimeoutError):
                await gw.live("test/app", timeout=0.5).__aenter__()
            await until(lambda: not reserved(orchestrator))


async def test_a_live_session_that_is_dropped_or_outlives_its_gateway_is_released() -> None:
    async with LocalOrchestrator() as orchestrator, serving(LiveApp()) as app:
        await heartbeat(orchestrator, app, mode="persistent", capacity=2)
        gw = gateway(orchestrator)
        dropped = await gw.live("test/app").__aenter__()
        kept = await gw.live("test/app").__aenter__()
        assert reserved(orchestrator) == 2
        with pytest.warns(ResourceWarning, match="unclosed LiveSession"):
            del dropped
            gc.collect()
        await until(lambda: reserved(orchestrator) == 1)
        await gw.aclose()
        assert not reserved(orchestrator)
        await kept.aclose()
        await gw.aclose()
    paths = [path.removeprefix("/base") for path in app.asked]
    assert paths.count("/stream/stop") >= 2
