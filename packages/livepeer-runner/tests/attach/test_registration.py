"""A registration at a real orchestrator of the local network: kept, healed, taken back."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.registration import Capability, OrchestratorState, Registration, Timing
from livepeer.runner.settings import Settings

LIMIT = 60.0
QUICK = Timing(probe=0.05, renew=0.1, confirm=0.02, request=5.0, retry_first=0.02, retry_most=0.1)
CAPABILITY = Capability(name="echo", url="http://127.0.0.1:9", capacity=2)


def job_header(name: str, request: str = "{}") -> dict[str, str]:
    job = {
        "id": "job",
        "request": request,
        "parameters": "{}",
        "capability": name,
        "sender": "0x0000000000000000000000000000000000000001",
        "sig": "00",
        "timeout_seconds": 10,
    }
    return {"Livepeer": base64.b64encode(json.dumps(job).encode()).decode()}


def registered(orchestrator: LocalOrchestrator, name: str = "echo") -> Any:
    found = orchestrator.capabilities.get(name)
    assert found is not None
    return found


def available(orchestrator: LocalOrchestrator, name: str = "echo") -> int | None:
    """Free places there; None where it does not know the name."""
    if orchestrator.capabilities.get(name) is None:
        return None
    return orchestrator.capabilities.available(name)


async def until(holds: Callable[[], bool]) -> None:
    """For what has no event: looked at until it holds, within a limit."""
    async with asyncio.timeout(LIMIT):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def settled(registration: Registration) -> OrchestratorState:
    async with asyncio.timeout(LIMIT):
        return (await registration.settled())[0]


@pytest.fixture
async def orchestrator() -> AsyncIterator[LocalOrchestrator]:
    async with LocalOrchestrator(secret="orch-secret") as running:
        yield running


def registration(*orchestrators: LocalOrchestrator, **options: Any) -> Registration:
    options = {"capability": CAPABILITY, "timing": QUICK, **options}
    return Registration(
        [each.url for each in orchestrators],
        [each.secret for each in orchestrators],
        **options,
    )


async def test_it_registers_on_entering_and_unregisters_on_leaving(
    orchestrator: LocalOrchestrator,
) -> None:
    async with registration(orchestrator) as kept:
        state = await settled(kept)
        assert state.status == "registered"
        assert state.reason is None
        assert available(orchestrator) == 2
    assert available(orchestrator) is None
    assert kept.state[0].status == "unregistered"


async def test_each_orchestrator_has_a_token_and_a_state_of_its_own(
    orchestrator: LocalOrchestrator,
) -> None:
    async with LocalOrchestrator() as second, registration(orchestrator, second) as kept:
        async with asyncio.timeout(LIMIT):
            await kept.settled()
        tokens = [caller.token.reveal() for caller in kept.callers]
        assert tokens == [registered(each).token for each in (orchestrator, second)]
        assert tokens[0] != tokens[1]
        callers = [kept.authenticate(f"Bearer {token}") for token in tokens]
        assert [caller.url for caller in callers if caller] == [orchestrator.url, second.url]


async def test_an_orchestrator_that_is_down_does_not_hold_up_another(
    orchestrator: LocalOrchestrator,
) -> None:
    async with LocalOrchestrator() as gone:
        kept = registration(gone, orchestrator)
    async with kept:
        await until(lambda: kept.state[1].status == "registered")
        await until(lambda: kept.state[0].status == "retrying")
        assert "cannot connect" in (kept.state[0].reason or "")


async def test_what_was_forgotten_is_registered_again(
    orchestrator: LocalOrchestrator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with registration(orchestrator) as kept:
        first = await settled(kept)
        for count, why in ((1, "was started anew"), (2, "it cannot reach http://127.0.0.1:9")):
            orchestrator.capabilities.remove("echo")
            await until(lambda: available(orchestrator) == 2)
            await until(lambda: kept.state[0].status == "registered")
            assert kept.state[0].since > first.since
            assert why in caplog.text
            # Whoever read that it was lost also reads that it is back.
            assert caplog.text.count("echo is registered at") == count + 1
            assert caplog.text.count("echo is not registered at") == count


async def test_an_orchestrator_that_restarts_with_a_new_certificate_is_joined_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with LocalOrchestrator(secret="s") as first:
        port = int(first.url.rsplit(":", 1)[1])
        kept = registration(first)
        await kept.__aenter__()
        try:
            await settled(kept)
        except BaseException:
            await kept.__aexit__(None, None, None)
            raise
    try:
        await until(lambda: kept.state[0].status == "retrying")
        async with LocalOrchestrator(secret="s", port=port) as second:
            await until(lambda: kept.state[0].status == "registered")
            assert available(second) == 2
            assert "new certificate" in caplog.text
    finally:
        await kept.__aexit__(None, None, None)


async def test_a_restart_between_two_looks_is_noticed_too() -> None:
    """Nothing failed while it was away: that the connection is gone shows that it was."""
    slow = Timing(probe=0.3, confirm=0.02, retry_first=0.02)
    async with LocalOrchestrator(secret="s") as first:
        port = int(first.url.rsplit(":", 1)[1])
        kept = registration(first, timing=slow)
        await kept.__aenter__()
        await settled(kept)
        await asyncio.sleep(0.35)  # one look, so that a connection is kept
    try:
        async with LocalOrchestrator(secret="s", port=port) as second:
            await until(lambda: available(second) == 2)
    finally:
        await kept.__aexit__(None, None, None)


async def test_nothing_is_registered_again_while_a_job_runs(
    orchestrator: LocalOrchestrator,
) -> None:
    async with registration(orchestrator) as kept:
        await settled(kept)
        (caller,) = kept.callers
        with caller.working():
            orchestrator.capabilities.remove("echo")
            await asyncio.sleep(QUICK.probe * 8)
            assert available(orchestrator) is None
        await until(lambda: available(orchestrator) == 2)


async def test_a_service_can_say_itself_that_it_is_busy(orchestrator: LocalOrchestrator) -> None:
    busy = {orchestrator.url}
    async with registration(orchestrator, is_idle=lambda url: url not in busy) as kept:
        await asyncio.sleep(QUICK.probe * 4)
        assert kept.state[0].status == "waiting"
        busy.clear()
        assert (await settled(kept)).status == "registered"


async def test_is_idle_that_raises_stops_the_registration_and_says_so(
    orchestrator: LocalOrchestrator,
) -> None:
    async with registration(orchestrator, is_idle=lambda url: 1 / 0 > 0) as kept:
        state = await settled(kept)
    assert state.status == "refused"
    assert "ZeroDivisionError" in (state.reason or "")


async def test_leaked_places_are_healed_while_idle(orchestrator: LocalOrchestrator) -> None:
    async with registration(orchestrator) as kept:
        await settled(kept)
        # go-livepeer: a job whose `request` is no object takes a place and never gives it back.
        async with aiohttp.ClientSession() as session:
            header = job_header("echo", request="[]")
            async with session.post(
                f"{orchestrator.url}/process/request/x", headers=header, data=b"{}", ssl=False
            ):
                pass
        assert available(orchestrator) == 1
        await until(lambda: available(orchestrator) == 2)


async def test_a_known_capability_is_left_alone(orchestrator: LocalOrchestrator) -> None:
    async with registration(orchestrator) as kept:
        await settled(kept)
        before = registered(orchestrator)
        await asyncio.sleep(QUICK.probe * 8)
        assert registered(orchestrator) is before


async def test_a_wrong_secret_is_final_and_never_shown(
    orchestrator: LocalOrchestrator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    kept = Registration(orchestrator.url, "topsecret", capability=CAPABILITY, timing=QUICK)
    async with kept:
        state = await settled(kept)
        assert state.status == "refused"
        assert "LIVEPEER_ORCH_SECRET" in (state.reason or "")
    assert kept.state[0].status == "refused"
    token = next(iter(kept.callers)).token.reveal()
    shown = caplog.text + repr(kept.callers) + repr(vars(kept)) + repr(state.as_dict())
    assert "topsecret" not in shown
    assert token not in shown


async def test_a_currency_without_price_feed_is_explained(orchestrator: LocalOrchestrator) -> None:
    capability = Capability(name="echo", url="http://127.0.0.1:9", currency="USD")
    async with registration(orchestrator, capability=capability) as kept:
        await until(lambda: kept.state[0].status == "retrying")
        assert "use wei" in (kept.state[0].reason or "")


async def test_the_url_is_guessed_from_the_way_to_the_orchestrator(
    orchestrator: LocalOrchestrator,
) -> None:
    capability = Capability(name="echo", capacity=2)
    async with registration(orchestrator, capability=capability, port=4321) as kept:
        await settled(kept)
        assert registered(orchestrator).url == "http://127.0.0.1:4321"


async def test_settings_are_enough(orchestrator: LocalOrchestrator) -> None:
    settings = Settings.from_env(
        {
            "ORCH_URL": orchestrator.url + "/",
            "ORCH_TOKEN": orchestrator.secret,
            "CAPABILITY_NAME": "other",
            "CAPABILITY_CAPACITY": "5",
            "CAPABILITY_PRICE_PER_UNIT": "7",
            "CAPABILITY_PRICE_SCALING": "1000",
        }
    )
    kept = Registration.from_settings(settings, name="echo", capacity=2, description="it echoes")
    assert kept is not None
    async with kept:
        await settled(kept)
        found = registered(orchestrator, "other")
        assert (found.capacity, found.price_per_unit, found.price_scaling) == (5, 7, 1000)
        assert found.description.startswith("it echoes")


def test_without_an_orchestrator_there_is_no_registration() -> None:
    assert Registration.from_settings(Settings(), name="echo", capacity=1) is None


async def test_any_http_service_can_be_registered_and_knows_who_calls(
    orchestrator: LocalOrchestrator,
) -> None:
    """An aiohttp server with no Pipeline in it: a job reaches it with the token that was given."""
    seen: list[str | None] = []

    async def work(request: web.Request) -> web.Response:
        caller = kept.authenticate(request.headers.get("Authorization"))
        if caller is None:
            raise web.HTTPUnauthorized
        with caller.working():
            seen.append(caller.url)
            return web.json_response({"ok": True})

    app = web.Application()
    app.router.add_post("/{route}", work)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    kept = registration(orchestrator, capability=Capability(name="mine"), port=port)
    try:
        async with kept, aiohttp.ClientSession() as session:
            await settled(kept)
            async with session.post(
                f"{orchestrator.url}/process/request/work",
                headers=job_header("mine"),
                data=b"{}",
                ssl=False,
            ) as response:
                assert await response.json() == {"ok": True}
            assert seen == [orchestrator.url]
            async with session.post(f"http://127.0.0.1:{port}/work") as refused:
                assert refused.status == 401
    finally:
        await runner.cleanup()


async def test_a_registration_is_entered_once(orchestrator: LocalOrchestrator) -> None:
    async with registration(orchestrator) as kept:
        with pytest.raises(RuntimeError, match="once"):
            await kept.__aenter__()
