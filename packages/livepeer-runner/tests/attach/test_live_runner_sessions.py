"""A live pipeline as a persistent live runner: sessions, their channels, and their end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from fractions import Fraction
from typing import Any

import httpx
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livepeer.runner import LivePipeline
from livepeer.runner.attach.callers import Caller
from livepeer.runner.attach.client import RegistryClient
from livepeer.runner.attach.live_runner import hints, sessions
from livepeer.runner.attach.live_runner.sessions import SessionCaller
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.errors import PipelineError
from livepeer.runner.live import control
from livepeer.runner.settings import OrchestratorAddress, RegistrationSettings, Secret
from livepeer.trickle import JSONLSubscriber, TricklePublisher
from livepeer.trickle.media import MediaPublisher, MediaSubscriber, VideoFrame
from livepeer.trickle.server import Channel

Serve = Any
LIMIT = 90.0


class Pass(LivePipeline):
    """Pictures as they are."""

    capacity = 2
    realtime = False

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


class At:
    """A served `Pass`, its orchestrator, and what callers ask of it."""

    def __init__(self, orchestrator: LocalOrchestrator, http: httpx.AsyncClient, s: Any) -> None:
        self.orchestrator, self.http, self.served = orchestrator, http, s

    async def runner(self) -> dict[str, Any]:
        (entry,) = (await self.http.get(f"{self.orchestrator.url}/discovery")).json()
        found: dict[str, Any] = entry["runners"][0]
        return found

    async def session(self) -> dict[str, str]:
        answer = await self.http.post((await self.runner())["url"])
        assert answer.status_code == 200
        found: dict[str, str] = answer.json()
        return found

    async def call(self, session: dict[str, str], route: str, body: Any = None) -> httpx.Response:
        return await self.http.post(f"{session['app_url']}/stream/{route}", json=body)


@pytest.fixture
async def at(served: Serve, request: pytest.FixtureRequest) -> AsyncIterator[At]:
    """Heartbeats come five times a second, or as the parameter says."""
    every = getattr(request, "param", 0.2)
    async with (
        LocalOrchestrator(heartbeat_interval=every, heartbeat_ttl=25 * every) as orchestrator,
        httpx.AsyncClient(verify=False, timeout=LIMIT, trust_env=False) as http,
    ):
        address = OrchestratorAddress(orchestrator.url, Secret(orchestrator.secret))
        wanted = RegistrationSettings((address,), kind="live-runner", app="org/pass")
        async with served(Pass, registration=wanted) as s:
            async with asyncio.timeout(LIMIT):
                await s.service.registration.settled()
            yield At(orchestrator, http, s)


async def test_frames_go_through_the_channels_that_the_runner_opened(at: At) -> None:
    found = await at.runner()
    assert (found["mode"], found["capacity"]) == ("persistent", 2)
    assert json.loads(found["metadata"])["type"] == "live"
    session = await at.session()
    started = (await at.call(session, "start", {"params": {}})).json()
    assert started["stream_id"] == session["session_id"]
    channels = started["channels"]
    assert set(channels) == {"in", "out", "events", "data", "control"}
    made: list[Any] = []

    async def watch() -> None:
        async with MediaSubscriber(channels["out"], policy="all", start=0, tls=False) as frames:
            async for frame in frames:
                made.append(frame)  # noqa: PERF401 — looked at while it grows

    watching = asyncio.create_task(watch())
    channel = TricklePublisher(channels["in"], linger=0.1, tls=False)
    async with MediaPublisher(channel.url, publisher=channel) as publisher:
        for index in range(25):
            pixels = np.full((96, 160, 3), 120, np.uint8)
            await publisher.write(VideoFrame.from_ndarray(pixels, time=Fraction(index, 25)))
    async with asyncio.timeout(LIMIT):
        await watching
    assert len(made) == 25
    assert (await at.call(session, "stop")).status_code == 200
    await at.served.until(lambda: at.served.slots_taken == 0)


async def test_only_the_channels_that_are_wanted_are_opened(at: At) -> None:
    session = await at.session()
    answer = await at.call(session, "start", {"channels": ["events", "control"]})
    assert set(answer.json()["channels"]) == {"events", "control"}
    url = answer.json()["channels"]["events"]
    async with asyncio.timeout(LIMIT), JSONLSubscriber(url, start=0, tls=False) as events:
        async for event in events:
            assert event["type"] == "status"
            break
    for wrong in (["nothing"], [], "in", [1]):
        refused = await at.call(session, "start", {"channels": wrong})
        assert refused.status_code == 422


async def test_a_session_reaches_no_stream_of_another(at: At) -> None:
    mine, other = await at.session(), await at.session()
    assert (await at.call(mine, "start", {"channels": ["events"]})).status_code == 200
    headers = {"X-Stream-Id": mine["session_id"]}
    url = f"{other['app_url']}/stream/params"
    assert (await at.http.post(url, json={}, headers=headers)).status_code == 404
    await at.http.post(f"{other['app_url']}/stream/stop", headers=headers)
    assert (await at.call(mine, "params", {})).status_code == 200


@pytest.mark.parametrize(
    ("status", "text", "says"),
    [
        (503, "no capacity for SECRET\n", "no capacity for"),
        (200, "[" * 50_000, "does not have them"),
        (200, '{"channels": [{"name": "in"}]}', "does not have them"),
        (200, '{"channels": []}', "does not have them"),
        (0, "", ""),
    ],
)
async def test_an_orchestrator_that_opens_no_channels_is_one_error_without_the_sessions_token(
    status: int, text: str, says: str
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers["Livepeer-Session-Token"])
        if not status:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=status or 200, text=text.replace("SECRET", asked[0]))

    app = web.Application()
    app.router.add_post("/runner/r/session/s/channels", answer)
    async with TestServer(app) as there:
        url = str(there.make_url("")).rstrip("/")
        scope = {
            "headers": [
                (b"livepeer-session-id", b"s"),
                (b"livepeer-session-token", b"t0ken-of-a-session"),
                (b"livepeer-session-control", b"http://elsewhere.test/runner/r/session/s"),
            ]
        }
        address = OrchestratorAddress(url, Secret("orch-secret"))
        async with RegistryClient(address, tls=True, timeout=LIMIT) as client:
            session = SessionCaller(Caller(url), client, scope)
            with pytest.raises(PipelineError, match="opens no channels") as told:
                await session.open_channels({"in": "video/MP2T"})
    assert says in str(told.value) and "t0ken-of-a-session" not in str(told.value)
    assert asked == ["t0ken-of-a-session"]


async def test_a_session_that_its_caller_stops_ends_its_stream(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SETTLE_SECONDS", 0.5)
    session = await at.session()
    assert (await at.call(session, "start", {"channels": ["events"]})).status_code == 200
    await at.http.post(f"{session['control_url']}/stop")
    await at.served.until(lambda: at.served.slots_taken == 0)


def o2r(orchestrator: LocalOrchestrator) -> Channel:
    """What the orchestrator tells the runner by."""
    (runner,) = orchestrator.runners
    assert runner.o2r is not None
    channel = orchestrator.trickle.get(runner.o2r["channel_name"])
    assert channel is not None
    return channel


@pytest.mark.parametrize("at", [1000.0], indirect=True)
async def test_what_the_orchestrator_tells_is_acted_upon_before_the_next_heartbeat(
    at: At, caplog: pytest.LogCaptureFixture
) -> None:
    """It drains: the only session is over, so it unregisters, and not minutes later."""
    caplog.set_level(logging.DEBUG)
    session = await at.session()
    assert (await at.call(session, "start", {"channels": ["events"]})).status_code == 200
    name = o2r(at.orchestrator).name
    await at.served.service.registration.drain()
    assert (await at.runner())["capacity"] == 1
    await at.http.post(f"{session['control_url']}/stop")
    await at.served.until(lambda: len(at.orchestrator.runners) == 0)
    assert name not in caplog.text


async def test_without_that_channel_all_goes_on(at: At) -> None:
    session = await at.session()
    assert (await at.call(session, "start", {"channels": ["events"]})).status_code == 200
    o2r(at.orchestrator).close()
    other = await at.session()
    assert (await at.call(other, "start", {"channels": ["events"]})).status_code == 200
    assert (await at.call(session, "params", {})).status_code == 200
    await at.http.post(f"{session['control_url']}/stop")
    await at.http.post(f"{other['control_url']}/stop")
    await at.served.until(lambda: at.served.slots_taken == 0)
    (state,) = at.served.service.registration.state
    assert state.status == "registered"


@pytest.mark.parametrize("at", [1000.0], indirect=True)
async def test_lies_of_that_channel_end_nothing_and_cost_little(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await at.session()
    assert (await at.call(session, "start", {"channels": ["events"]})).status_code == 200
    asked: list[float] = []
    (runner,) = at.orchestrator.runners
    monkeypatch.setattr(
        type(runner), "announce", lambda *_: asked.append(asyncio.get_running_loop().time())
    )
    lie = json.dumps({"event": "released", "session": session["session_id"]}).encode()
    for number in range(200):
        o2r(at.orchestrator).put((lie, b"nonsense", b"\xff" * 100_000, b"[]")[number % 4])
        await asyncio.sleep(0.005)
    await at.served.until(lambda: bool(asked))
    assert (await at.call(session, "params", {})).status_code == 200
    assert at.served.slots_taken == 1
    seconds = asked[-1] - asked[0]
    assert len(asked) <= 3 + seconds / hints.PAUSE_SECONDS


async def test_a_session_that_nobody_uses_is_ended_here(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference keeps it for ever, and its place with it."""
    monkeypatch.setattr(sessions, "IDLE_SECONDS", 1.0)
    busy, idle = await at.session(), await at.session()
    assert (await at.call(busy, "start", {"channels": ["events"]})).status_code == 200
    assert (await at.http.get(f"{idle['app_url']}/health")).status_code == 200
    assert (await at.call(idle, "params", {})).status_code == 404  # its first request
    async with asyncio.timeout(LIMIT):
        while (await at.runner())["capacity_used"] != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert (await at.call(busy, "params", {})).status_code == 200


async def test_a_caller_who_is_gone_without_a_word_leaves_no_place_taken(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stream ends for want of any sign of it, and then its session."""
    monkeypatch.setattr(control, "FIRST_SIGN_SECONDS", 0.5)
    monkeypatch.setattr(sessions, "IDLE_SECONDS", 1.0)
    session = await at.session()
    assert (await at.call(session, "start")).status_code == 200
    assert at.served.slots_taken == 1
    await at.served.until(lambda: at.served.slots_taken == 0)
    async with asyncio.timeout(LIMIT):
        while (await at.runner())["capacity_used"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    (runner,) = at.orchestrator.runners
    assert not runner.sessions
    assert [one.name for one in at.orchestrator.trickle.channels] == [o2r(at.orchestrator).name]


async def test_places_of_callers_who_never_came_are_free_again(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of theirs can be ended without a token, so the runner registers anew."""
    monkeypatch.setattr(sessions, "FIRST_REQUEST_SECONDS", 1.0)
    before = (await at.runner())["url"]
    for _ in range(2):
        await at.session()
    assert (await at.runner())["capacity_available"] == 0

    async def again() -> bool:
        (entry,) = (await at.http.get(f"{at.orchestrator.url}/discovery")).json()
        return any(one["capacity_available"] == 2 for one in entry.get("runners", ()))

    async with asyncio.timeout(LIMIT):
        while not await again():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert (await at.runner())["url"] != before


async def test_at_its_end_streams_end_and_then_it_unregisters(served: Serve) -> None:
    async with (
        LocalOrchestrator(heartbeat_interval=0.2, heartbeat_ttl=5.0) as orchestrator,
        httpx.AsyncClient(verify=False, timeout=LIMIT, trust_env=False) as http,
    ):
        address = OrchestratorAddress(orchestrator.url, Secret(orchestrator.secret))
        wanted = RegistrationSettings((address,), kind="live-runner")
        async with served(Pass, registration=wanted) as s:
            await s.service.registration.settled()
            it = At(orchestrator, http, s)
            session = await it.session()
            answer = await it.call(session, "start", {"channels": ["events"]})
            events = answer.json()["channels"]["events"]
            records: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
            reading = asyncio.create_task(_read(events, records))
            async with asyncio.timeout(LIMIT):
                await records.get()
        async with asyncio.timeout(LIMIT):
            await reading
        last = None
        while not records.empty():
            last = records.get_nowait()
        assert last is not None and last["type"] == "stream_ended"
        (entry,) = (await http.get(f"{orchestrator.url}/discovery")).json()
        assert "runners" not in entry


async def _read(url: str, into: asyncio.Queue[dict[str, Any]]) -> None:
    async with JSONLSubscriber(url, start=0, tls=False) as records:
        async for record in records:
            into.put_nowait(record)
