"""A registration at a live-runner registry: kept by heartbeats, healed, drained, taken back."""

import asyncio
import ctypes
import json
import logging
import select
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from livepeer.runner.attach.live_runner import beat
from livepeer.runner.devnet.certificate import server_context
from livepeer.runner.registration import Capability, OrchestratorState, Registration, Timing

from .runner_registry import RunnerRegistry

LIMIT = 60.0
QUICK = Timing(request=5.0, unregister=5.0, retry_first=0.02, retry_most=0.1)
CAPABILITY = Capability(name="echo", url="http://127.0.0.1:9", capacity=2, app="org/echo")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def settled(registration: Registration) -> OrchestratorState:
    async with asyncio.timeout(LIMIT):
        return (await registration.settled())[0]


def registration(registry: RunnerRegistry, **options: Any) -> Registration:
    options = {"capability": CAPABILITY, "timing": QUICK, "kind": "live-runner", **options}
    return Registration(registry.url, options.pop("secret", registry.secret), **options)


@pytest.fixture
async def registry() -> AsyncIterator[RunnerRegistry]:
    async with RunnerRegistry() as running:
        yield running


async def test_it_registers_beats_and_unregisters(registry: RunnerRegistry) -> None:
    async with registration(registry, metadata=lambda: {"sdk": "x"}) as kept:
        assert (await settled(kept)).status == "registered"
        await until(lambda: len(registry.heartbeats()) >= 4)
        first, *later = registry.heartbeats()
        assert first.authorization == registry.secret
        assert {each.authorization for each in later} == {registry.one.secret}
        assert all(each.body == first.body for each in later)
        told = registry.one.record
        assert (told["app"], told["mode"], told["capacity"]) == ("org/echo", "single-shot", 2)
        assert json.loads(told["metadata"]) == {"sdk": "x"}
        assert kept.state[0].as_dict()["registry"] == "live-runner"
    assert registry.runners == {}
    assert kept.state[0].status == "unregistered"


@pytest.mark.parametrize("answered", [True, False])
async def test_who_leaves_while_it_is_registered_is_not_left_in_the_registry(
    registry: RunnerRegistry, answered: bool
) -> None:
    """Only the answer to the first heartbeat has the secret to unregister with."""
    registry.answer_when = asyncio.Event()
    quick = Timing(request=5.0, unregister=5.0 if answered else 0.2)
    async with asyncio.timeout(LIMIT), registration(registry, timing=quick) as kept:
        await until(lambda: bool(registry.runners))
        leaving = asyncio.create_task(kept.drain())
        await asyncio.sleep(0)
        if answered:
            registry.answer_when.set()
        await leaving  # in bounded time, also where no answer comes
        registry.answer_when.set()
        assert (registry.runners == {}) is answered
        assert kept.state[0].status == "unregistered"


async def test_each_bootstrap_has_an_id_that_nobody_had(registry: RunnerRegistry) -> None:
    async with registration(registry) as kept, registration(registry) as twin:
        await settled(kept)
        await settled(twin)
        assert len(registry.runners) == 2


async def test_an_orchestrator_that_forgot_is_joined_at_once(registry: RunnerRegistry) -> None:
    async with registration(registry) as kept:
        await settled(kept)
        (before,) = registry.runners
        registry.runners.clear()
        await until(lambda: bool(registry.runners))
        assert before not in registry.runners
        await until(lambda: kept.state[0].status == "registered")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((404, "runner not found\n"), "no heartbeat reached it in time"),
        ((401, "invalid registration authorization\n"), "no longer knows this runner"),
        ((401, "invalid heartbeat authorization\n"), "another runner has this id"),
    ],
)
async def test_what_means_forgotten_bootstraps_again(
    registry: RunnerRegistry,
    answer: tuple[int, str],
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with registration(registry) as kept:
        await settled(kept)
        registry.script = [answer]
        await until(lambda: len(registry.heartbeats(registry.secret)) == 2)
        assert says in caplog.text
        ids = [each.body["runner_id"] for each in registry.heartbeats(registry.secret)]
        assert ids[0] != ids[1]
        assert (await settled(kept)).status == "registered"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((401, "invalid registration authorization\n"), "LIVEPEER_ORCH_SECRET"),
        ((404, "live runners are not supported\n"), "-useLiveRunners"),
        ((404, "dynamic live runner registration is disabled\n"), "-orchSecret"),
        ((404, "page not found\n"), "LIVEPEER_ORCH_URL"),
        ((400, "invalid runner_url\n"), "LIVEPEER_CAPABILITY_URL"),
        ((400, "app must be trimmed\n"), "LIVEPEER_APP"),
        ((400, "price_info.price must be a positive decimal\n"), "LIVEPEER_APP_PRICE"),
        ((400, "something new\n"), "something new"),
    ],
)
async def test_what_will_not_pass_stops_with_the_reason(
    registry: RunnerRegistry, answer: tuple[int, str], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    registry.script = [answer]
    async with registration(registry) as kept:
        state = await settled(kept)
        assert state.status == "refused"
        assert says in (state.reason or "")
        assert says in caplog.text
        await asyncio.sleep(0.3)
    assert len(registry.asked) == 1


@pytest.mark.parametrize("text", ["", '{"heartbeat_secret": ["x"]}'])
async def test_a_first_answer_that_is_no_lease_is_told_and_asked_for_anew(
    registry: RunnerRegistry, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    registry.script = [(200, text)]
    async with registration(registry) as kept:
        await until(lambda: kept.state[0].status == "registered")
        assert "is it a go-livepeer orchestrator?" in caplog.text
        assert len(registry.heartbeats(registry.secret)) == 2


@pytest.mark.parametrize("text", ["[" * 50_000, '{"session_ids": 7}'])
async def test_a_later_answer_that_cannot_be_read_is_told_and_the_next_one_heals(
    registry: RunnerRegistry, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with registration(registry) as kept:
        await settled(kept)
        registry.script = [(200, text)]
        await until(lambda: "is it a go-livepeer orchestrator?" in caplog.text)
        await until(lambda: kept.state[0].status == "registered")
        assert len(registry.heartbeats(registry.secret)) == 1  # it is the same runner


async def test_a_lost_first_answer_costs_a_new_id_and_no_time(registry: RunnerRegistry) -> None:
    """The registry has us, under a secret that was never read: nobody gets in there."""
    registry.lose_next_answer = True
    async with registration(registry) as kept:
        started = time.monotonic()
        await until(lambda: kept.state[0].status == "registered")
        assert len(registry.runners) == 2
        assert time.monotonic() - started < 10


async def test_a_beat_without_an_answer_is_sent_again(registry: RunnerRegistry) -> None:
    async with registration(registry) as kept:
        await settled(kept)
        (before,) = registry.runners
        count = len(registry.heartbeats())
        registry.script = [None, None]
        await until(lambda: len(registry.heartbeats()) > count + 4)
        assert list(registry.runners) == [before]
        await until(lambda: kept.state[0].status == "registered")


async def test_an_orchestrator_that_was_killed_is_waited_for() -> None:
    async with RunnerRegistry() as first:
        kept = registration(first)
        await kept.__aenter__()
    try:
        await until(lambda: kept.state[0].status == "retrying")
        assert "connect" in (kept.state[0].reason or "")
        async with RunnerRegistry(port=first.port) as second:
            await until(lambda: bool(second.runners))
            await until(lambda: kept.state[0].status == "registered")
            await kept.__aexit__(None, None, None)
            assert second.runners == {}
    finally:
        await kept.__aexit__(None, None, None)


async def test_busy_code_delays_no_heartbeat() -> None:
    """All Python of this process is held up; the registry is a process of its own."""
    program = (
        "import asyncio,sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from runner_registry import RunnerRegistry\n"
        "async def main():\n"
        "    async with RunnerRegistry() as it:\n"
        "        print(it.url, flush=True)\n"
        "        await asyncio.to_thread(sys.stdin.readline)\n"
        "        count = len(it.heartbeats())\n"
        "        while len(it.heartbeats()) < count + 10:\n"
        "            await asyncio.sleep(0.01)\n"
        "        print('ten more', flush=True)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(  # noqa: ASYNC220 — the loop is not to read its pipe
        [sys.executable, "-c", program, str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            url = (await asyncio.to_thread(process.stdout.readline)).decode().strip()
            kept = Registration(
                url, "orch-secret", capability=CAPABILITY, timing=QUICK, kind="live-runner"
            )
            async with kept:
                await settled(kept)
                process.stdin.write(b"\n")
                # Without giving up the interpreter's lock, so that no thread here runs either.
                waiting = struct.pack("ihh", process.stdout.fileno(), select.POLLIN, 0)
                assert ctypes.PyDLL(None).poll(waiting, 1, int(LIMIT * 1000)) == 1
                assert process.stdout.readline() == b"ten more\n"
        finally:
            process.kill()


async def test_the_process_ends_with_the_registration_and_is_started_again_if_it_dies(
    registry: RunnerRegistry,
) -> None:
    async with registration(registry) as kept:
        await settled(kept)
        await until(lambda: len(registry.heartbeats()) > 2)
        (beating,) = beats()
        beating.kill()
        count = len(registry.heartbeats())
        await until(lambda: len(registry.heartbeats()) > count + 3)
        assert len(registry.runners) == 1
        assert beats() != [beating]
    assert beats() == []


def beats() -> list[psutil.Process]:
    """The processes that send the heartbeats of this one."""
    return [
        each
        for each in psutil.Process().children()
        if each.status() != psutil.STATUS_ZOMBIE and each.cmdline()[-1] == beat.__file__
    ]


class TestDraining:
    async def test_without_a_session_it_unregisters_at_once(self, registry: RunnerRegistry) -> None:
        async with registration(registry) as kept:
            await settled(kept)
            await kept.drain()
            assert registry.runners == {}

    async def test_with_sessions_it_lowers_its_capacity_and_stays_ready(
        self, registry: RunnerRegistry
    ) -> None:
        capability = Capability(name="echo", url="http://127.0.0.1:9", capacity=4)
        async with registration(registry, capability=capability) as kept:
            await settled(kept)
            sessions = [registry.reserve(), registry.reserve()]
            await until(lambda: len(registry.heartbeats()) > 3)
            await kept.drain()
            assert (registry.one.record["capacity"], registry.one.record["status"]) == (2, "ready")
            del registry.one.sessions[sessions[0]]
            await until(lambda: registry.one.record["capacity"] == 1)
            del registry.one.sessions[sessions[1]]
            await until(lambda: registry.runners == {})
        assert {each.body["status"] for each in registry.heartbeats()} == {"ready"}


class TestTLS:
    @pytest.mark.parametrize("tls", ["pin", "insecure"])
    async def test_heartbeats_go_to_the_one_that_was_met(self, tls: Any) -> None:
        async with RunnerRegistry(tls=server_context("127.0.0.1")) as registry:
            async with registration(registry, tls=tls) as kept:
                await settled(kept)
                await until(lambda: len(registry.heartbeats()) > 3)
                assert kept.state[0].status == "registered"

    async def test_a_context_of_the_services_own_holds_for_them_too(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        async with RunnerRegistry(tls=server_context("127.0.0.1")) as registry:
            async with registration(registry, tls=context) as kept:
                await settled(kept)
                await until(lambda: len(registry.heartbeats()) > 3)

    async def test_a_new_certificate_is_taken_where_a_pin_allows_it(self) -> None:
        async with RunnerRegistry(tls=server_context("127.0.0.1")) as first:
            kept = registration(first)
            await kept.__aenter__()
            await settled(kept)
            await until(lambda: len(first.heartbeats()) > 2)
        try:
            async with RunnerRegistry(tls=server_context("127.0.0.1"), port=first.port) as second:
                await until(lambda: len(second.heartbeats()) > 3)
        finally:
            await kept.__aexit__(None, None, None)

    async def test_another_certificate_is_told_nothing(self) -> None:
        async with RunnerRegistry(tls=server_context("127.0.0.1")) as registry:
            plan = {
                "number": 1,
                "url": f"{registry.url}/runners/heartbeat",
                "headers": {"Authorization": "s"},
                "body": "{}",
                "interval": 1,
                "first": 0,
                "limit": 5,
                "trust": "00" * 32,
            }
            with pytest.raises(OSError, match="another one"):
                await asyncio.to_thread(beat.Link().beat, plan)
            assert registry.asked == []


async def test_what_is_secret_is_shown_nowhere(
    registry: RunnerRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with registration(registry, secret_path=True) as kept:
        await settled(kept)
        await until(lambda: len(registry.heartbeats()) > 2)
        (caller,) = kept.callers
        heartbeat = registry.one.secret
        registry.script = [(500, f"oh {heartbeat} {registry.secret} {caller.token.reveal()}")]
        await until(lambda: "500" in (kept.state[0].reason or ""))
        assert registry.one.record["runner_url"].endswith(f"/r/{caller.token.reveal()}")
        shown = caplog.text + repr(kept.callers) + repr(kept.state) + repr(vars(kept))
        shown += json.dumps(kept.state[0].as_dict())
        for secret in (registry.secret, heartbeat, caller.token.reveal()):
            assert secret not in shown
