"""Live runners of the local network when something goes wrong, over HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.devnet.live_runners import proxy, static
from livepeer.runner.devnet.live_runners.channels import RunnerChannels
from livepeer.runner.devnet.live_runners.states import RunnerRefusal
from livepeer.trickle import TrickleSubscriber
from livepeer.trickle.server import ServerLimits, TrickleServer

from .live_runners import ScriptedRunner, registered, serving, until

#: Seconds in which the orchestrator forgets a runner, a fiftieth of the reference's.
QUICK = {"heartbeat_interval": 0.1, "heartbeat_ttl": 0.4}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector) as opened:
        yield opened


async def test_a_killed_runner_is_back_at_once_under_a_new_id_and_late_under_its_own(
    http: aiohttp.ClientSession,
) -> None:
    async with LocalOrchestrator(**QUICK) as orchestrator, serving() as (url, _):
        killed = ScriptedRunner(orchestrator, http)
        killed.url = url
        assert (await killed.heartbeat())[0] == 200
        again = ScriptedRunner(orchestrator, http)
        again.url = url
        assert await again.heartbeat() == (401, "invalid heartbeat authorization")
        assert (await again.heartbeat(runner_id="runner-2"))[0] == 200
        await until(lambda: [each.id for each in orchestrator.runners] != ["runner-1", "runner-2"])
        back = ScriptedRunner(orchestrator, http)
        back.url = url
        await back.until_taken()


async def test_twins_with_one_label_live_and_die_apart(http: aiohttp.ClientSession) -> None:
    async with LocalOrchestrator() as orchestrator, serving() as (url, _):
        twins = [ScriptedRunner(orchestrator, http) for _ in range(2)]
        for number, twin in enumerate(twins):
            twin.url = url
            assert (await twin.heartbeat(label="twin", runner_id=f"twin-{number}"))[0] == 200
        first, second = twins
        assert len(await first.discovered()) == 2
        status, session = await first.reserve()
        assert status == 200
        assert await first.heartbeat(secret=second.secret) == (
            401,
            "invalid heartbeat authorization",
        )
        assert await second.unregister() == 204
        assert [one["capacity_used"] for one in await first.discovered()] == [1]
        assert (await first.get(session["app_url"] + "/x"))[0] == 200


async def test_a_first_heartbeat_whose_answer_was_lost_holds_its_id_until_the_sweep(
    http: aiohttp.ClientSession,
) -> None:
    async with LocalOrchestrator(**QUICK, tls=False) as orchestrator, serving() as (url, _):
        runner = ScriptedRunner(orchestrator, http)
        runner.url = url
        body = json.dumps({"runner_id": "runner-1", "runner_url": url, "app": "test/app"})
        host, _, port = orchestrator.url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST /runners/heartbeat HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Authorization: {orchestrator.secret}\r\nContent-Length: {len(body)}\r\n\r\n"
            f"{body}".encode()
        )
        await writer.drain()
        await until(lambda: len(orchestrator.runners) == 1)
        writer.transport.abort()
        status, text = await runner.heartbeat()
        assert status in (401, 404), text
        await runner.until_taken()
        assert len(await runner.discovered()) == 1


async def test_a_wall_clock_that_jumps_loses_no_runner_and_no_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with LocalOrchestrator() as orchestrator, registered(orchestrator) as runner:
        _, session = await runner.reserve()
        wall = time.time
        for jump in (86_400.0, -86_400.0):
            monkeypatch.setattr(time, "time", lambda jump=jump: wall() + jump)
            orchestrator.runners.sweep()
            status, told = await runner.heartbeat()
            assert (status, told["session_ids"]) == (200, [session["session_id"]])


async def test_a_session_of_a_dead_runner_is_502_and_then_gone_with_it(
    http: aiohttp.ClientSession,
) -> None:
    async with LocalOrchestrator(**QUICK) as orchestrator:
        runner = ScriptedRunner(orchestrator, http)
        async with serving() as (url, _):
            runner.url = url
            await runner.heartbeat()
            _, session = await runner.reserve()
            assert (await runner.get(session["app_url"] + "/x"))[0] == 200
        await runner.heartbeat()
        status, text = await runner.get(session["app_url"] + "/x")
        assert status == 502
        assert "connection refused" in text
        await until(lambda: len(orchestrator.runners) == 0)
        assert await runner.get(session["app_url"] + "/x") == (404, "runner not found")
        assert await runner.post(session["control_url"] + "/stop") == (404, "runner not found")
        assert orchestrator.trickle.channels == []


async def test_draining_by_status_cuts_sessions_off_and_by_capacity_it_does_not() -> None:
    async with (
        LocalOrchestrator() as orchestrator,
        registered(orchestrator, capacity=3) as runner,
    ):
        _, session = await runner.reserve()
        await runner.heartbeat(capacity=1)
        assert (await runner.reserve())[0] == 503
        assert (await runner.get(session["app_url"] + "/x"))[0] == 200
        await runner.heartbeat(status="draining")
        assert await runner.get(session["app_url"] + "/x") == (404, "runner not found")
        assert await runner.discovered() == []
        # What nobody can use can be given back all the same.
        assert (await runner.post(session["control_url"] + "/stop"))[0] == 204


async def test_an_orchestrator_that_comes_back_knows_nobody(http: aiohttp.ClientSession) -> None:
    async with serving() as (url, _):
        orchestrator = LocalOrchestrator(secret="the-same")
        async with orchestrator:
            runner = ScriptedRunner(orchestrator, http)
            runner.url = url
            await runner.heartbeat()
            old = runner.secret
        async with orchestrator:
            assert await runner.heartbeat() == (401, "invalid registration authorization")
            assert (await runner.heartbeat(secret="the-same"))[0] == 200
            assert runner.secret != old


async def test_one_health_check_that_fails_ends_every_session_of_a_static_runner(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static, "HEALTH_SECONDS", 0.05)
    health = {"status": 200}

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=health["status"] if request.path == "/ready" else 200)

    async with LocalOrchestrator() as orchestrator, serving(handler) as (url, _):
        entry = {
            "label": "static",
            "runner_url": url,
            "health_url": "/ready",
            "app": "test/app",
            "routing": "label",
        }
        config = json.dumps({"runners": [entry]}).encode()
        (told,) = await orchestrator.register_live_runners(config)
        assert told["healthy"] is True
        assert told["health_url"] == f"{url}/ready"
        caller = ScriptedRunner(orchestrator, http)
        caller.says["runner_id"] = "static"
        _, session = await caller.reserve()
        assert (await caller.get(session["app_url"] + "/x"))[0] == 200
        (runner,) = orchestrator.runners
        health["status"] = 503
        await until(lambda: not runner.sessions)
        health["status"] = 200
        await until(lambda: runner.state.name == "READY")
        assert await caller.get(session["app_url"] + "/x") == (404, "runner session not found")
        with pytest.raises(ValueError, match=r"runners\[0\]: app must be trimmed"):
            await orchestrator.register_live_runners(
                json.dumps({"runners": [{**entry, "app": ""}]}).encode()
            )


async def test_a_static_runner_that_never_answers_its_check_is_hidden(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static, "_ANSWER_SECONDS", 0.1)

    async def hang(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with LocalOrchestrator() as orchestrator, serving(hang) as (url, _):
        entry = {"label": "l", "runner_url": url, "health_url": "/ready", "app": "test/app"}
        (told,) = await orchestrator.register_live_runners(
            json.dumps({"runners": [entry]}).encode()
        )
        assert told["healthy"] is False
        caller = ScriptedRunner(orchestrator, http)
        assert await caller.discovered() == []


async def test_a_runner_follows_its_sessions_on_its_channel() -> None:
    async with LocalOrchestrator() as orchestrator, registered(orchestrator) as runner:
        events: list[dict[str, Any]] = []

        async def follow() -> None:
            url = runner.told["o2r"]["url"]
            async with TrickleSubscriber(url, start=0, tls=False) as subscriber:
                async for segment in subscriber:
                    event = json.loads(await segment.read())
                    events.append(event)

        following = asyncio.create_task(follow())
        _, session = await runner.reserve()
        await until(lambda: len(events) == 1)
        await runner.post(session["control_url"] + "/stop")
        await until(lambda: len(events) == 2)
        assert await runner.unregister() == 204
        await asyncio.wait_for(following, 30)
        assert [event["event"] for event in events] == ["reserved", "released"]
        assert {event["session"] for event in events} == {session["session_id"]}


async def test_a_runners_channel_is_kept_alive_until_it_is_gone() -> None:
    async with TrickleServer() as server:
        channels = RunnerChannels(server, public="p", internal="i", keepalive=0.02)
        try:
            for name in ("kept", "deleted"):
                channels.create_o2r(name)
            deleted, kept = server.get("deleted"), server.get("kept")
            assert deleted is not None and kept is not None
            deleted.close()  # by somebody who knows its URL
            await until(lambda: kept.next_seq > 3)
            channels.tell("deleted", "reserved", "session")
            channels.close("deleted")
            channels.close("kept")
            written = kept.next_seq
            await asyncio.sleep(0.1)
            assert kept.next_seq == written
        finally:
            channels.aclose()


async def test_a_trickle_server_without_room_is_told_to_the_runner() -> None:
    async with TrickleServer(limits=ServerLimits(channels=1, name_length=8)) as server:
        channels = RunnerChannels(server, public="p", internal="i")
        with pytest.raises(RunnerRefusal) as refusal:
            channels.create_o2r("a-name-that-is-long")
        assert refusal.value.status == 414
        channels.create("out", "out", "video/MP2T")
        with pytest.raises(RunnerRefusal) as refusal:
            channels.create("more", "more", "video/MP2T")
        assert refusal.value.status == 429
        with pytest.raises(RunnerRefusal) as refusal:
            channels.create("..", "..", "video/MP2T")
        assert refusal.value.status == 400


async def test_a_runner_has_addresses_of_its_own_where_it_sits_in_another_network() -> None:
    async with (
        LocalOrchestrator(runner_address="http://orch.internal:8935/") as orchestrator,
        registered(orchestrator) as runner,
    ):
        assert runner.told["orchestrator"] == "http://orch.internal:8935"
        assert runner.told["o2r"]["url"].startswith("http://orch.internal:8935/ai/trickle/")
        _, session = await runner.reserve()
        _, told = await runner.post(session["app_url"] + "/x")
        control = told["headers"]["livepeer-session-control"]
        assert control.startswith("http://orch.internal:8935/runner/runner-1/session/")
        path = control.removeprefix("http://orch.internal:8935")
        status, made = await runner.post(
            f"{path}/channels",
            json={"channels": [{"name": "in", "mime_type": "video/MP2T"}]},
            headers={"Livepeer-Session-Token": told["headers"]["livepeer-session-token"]},
        )
        assert status == 200
        (channel,) = made["channels"]
        name = channel["channel_name"]
        assert channel["url"] == f"{orchestrator.url}/ai/trickle/{name}"
        assert channel["internal_url"] == f"http://orch.internal:8935/ai/trickle/{name}"
        assert orchestrator.trickle.get(name) is not None


async def test_an_orchestrator_without_live_runners_says_so() -> None:
    connector = aiohttp.TCPConnector(ssl=False)
    async with (
        LocalOrchestrator(live_runners=False) as orchestrator,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        runner = ScriptedRunner(orchestrator, http)
        told = (404, "live runners are not supported")
        assert await runner.heartbeat() == told
        assert await runner.reserve() == told
        assert await runner.get(f"{orchestrator.url}/discovery") == told
        with pytest.raises(RuntimeError, match="no live runners"):
            _ = orchestrator.runners


async def test_a_free_runner_cannot_register_where_prices_are_checked(
    http: aiohttp.ClientSession,
) -> None:
    async with LocalOrchestrator(check_prices=True) as orchestrator:
        runner = ScriptedRunner(orchestrator, http)
        runner.url = "http://127.0.0.1:1"
        assert await runner.heartbeat() == (400, "price_info.price is required")
        priced = {"price": "0", "currency": "usd", "unit": "hour"}
        assert await runner.heartbeat(price_info=priced) == (
            400,
            "price_info.price must be a positive decimal",
        )
        assert (await runner.heartbeat(price_info={**priced, "price": 1.5}))[0] == 200
        (entry,) = await runner.discovered()
        assert "price_info" not in entry


async def test_a_peer_that_sends_too_much_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "MOST_REQUESTS", 1)
    began, go_on = asyncio.Event(), asyncio.Event()

    async def wait(request: web.Request) -> web.Response:
        began.set()
        await go_on.wait()
        return web.Response()

    async with (
        LocalOrchestrator() as orchestrator,
        registered(orchestrator, wait, capacity=4) as runner,
    ):
        status, text = await runner.heartbeat(metadata="m" * (300 * 1024))
        assert status == 413, text
        runner.says["metadata"] = ""
        _, session = await runner.reserve()
        first = asyncio.create_task(runner.get(session["app_url"] + "/x"))
        await asyncio.wait_for(began.wait(), 30)
        assert (await runner.get(session["app_url"] + "/x"))[0] == 503
        go_on.set()
        assert (await first)[0] == 200


async def test_no_session_channel_or_request_is_left_behind() -> None:
    async with (
        LocalOrchestrator() as orchestrator,
        registered(orchestrator, capacity=20) as runner,
    ):

        async def one(number: int) -> None:
            _, session = await runner.reserve()
            status, told = await runner.post(session["app_url"] + "/x")
            assert status == 200
            token = {"Livepeer-Session-Token": told["headers"]["livepeer-session-token"]}
            control = told["headers"]["livepeer-session-control"]
            names = [{"name": name} for name in ("in", "out", "events")]
            await runner.post(f"{control}/channels", json={"channels": names}, headers=token)
            by = (session["control_url"], {}) if number % 2 else (control, token)
            assert (await runner.post(f"{by[0]}/stop", headers=by[1]))[0] == 204

        await asyncio.gather(*map(one, range(20)))
        (registered_runner,) = orchestrator.runners
        assert registered_runner.sessions == {}
        assert len(orchestrator.trickle.channels) == 1  # the runner's own
        assert await runner.unregister() == 204
        assert orchestrator.trickle.channels == []
