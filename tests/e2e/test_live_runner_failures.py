"""Live runners and their callers die: every part a process, seen from the client's side."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from livepeer.client import (
    ConnectionFailedError,
    Gateway,
    LivepeerError,
    NoCapacityError,
    SessionEndedError,
)

from .media import LIMIT, chroma, endless, take
from .network import HERE, Container, Network
from .processes import Process

pytestmark = pytest.mark.slow  # processes; the same without them is in tests/contract

PIPELINES = HERE / "pipelines.py"


def runner(network: Network, name: str, **env: str) -> Container:
    says = {"LIVEPEER_REGISTRATION": "live-runner", "LIVEPEER_APP": f"test/{name}", **env}
    return network.serve(PIPELINES, name, env=says)


async def free(gw: Gateway, app: str) -> int:
    (info,) = await gw.capabilities_async(app)
    return info.capacity


async def becomes_free(gw: Gateway, app: str, places: int, limit: float = LIMIT) -> None:
    for _ in range(round(4 * limit)):
        if await free(gw, app) == places:
            return
        await asyncio.sleep(0.25)
    raise AssertionError(f"{app} has not {places} free places after {limit:g} s")


def open_things() -> tuple[int, int, int]:
    me = psutil.Process()
    return me.num_fds(), me.num_threads(), len(asyncio.all_tasks())


async def test_a_runner_that_is_killed_in_mid_call_is_an_error_and_the_next_call_finds_another(
    network: Network, gw: Gateway
) -> None:
    first = runner(network, "count")
    second = runner(network, "count")
    events = gw.stream_async("test/count", input={})
    assert (await anext(events)).json() == {"i": 0}
    # Both are listed; the one that runs it says nothing of it, so both may be the one.
    victim = await _busy(first, second)
    victim.process.kill()
    with pytest.raises(ConnectionFailedError) as caught:
        async for _ in events:
            pass
    assert caught.value.may_have_run and caught.value.received
    # Its entry is there for up to 25 s, with all places free.
    for _ in range(3):
        async with gw.stream_async("test/count", input={}) as events:
            assert (await anext(events)).json() == {"i": 0}


async def _busy(*containers: Container) -> Container:
    """The one that has a job, by its own metrics."""
    import aiohttp

    async with aiohttp.ClientSession() as http:
        for each in containers:
            async with http.get(f"{each.url}/health") as answer:
                if (await answer.json())["status"] == "OK":
                    return each
    raise AssertionError("nobody is busy")


async def test_a_live_runner_that_is_killed_ends_its_session_and_another_takes_the_next(
    network: Network, gw: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livepeer.client.live.events.SILENCE", 8.0)
    paint = runner(network, "paint")
    async with gw.live("test/paint", params={"u": 60}) as session:
        session.publish(endless())
        frames = session.subscribe()
        await take(frames, 5)
        paint.process.kill()
        with pytest.raises(SessionEndedError):
            await take(frames)
    runner(network, "paint")  # beside the entry of the dead one, which takes reservations
    for _ in range(2):
        async with gw.live("test/paint", params={"u": 200}) as session:
            session.publish(endless())
            found = await take(session.subscribe(), 3)
        assert all(abs(chroma(frame)[0] - 200) < 3 for frame in found)
    # The session at the dead one was given back as well, so nothing is taken anywhere.
    (info,) = await gw.capabilities_async("test/paint")
    (offer,) = info.offers
    assert [each.capacity for each in offer.runners] == [1] * len(offer.runners)


async def test_an_orchestrator_that_dies_is_an_error_at_once_and_the_other_one_takes_over(
    network: Network, tmp_path: Path
) -> None:
    runner(network, "paint")
    other = Network()
    try:
        other.orchestrator()
        runner(other, "paint")
        urls = [network.url, other.url]
        async with Gateway(orch_url=urls, tls="pin", timeout=20) as gw:
            session = await gw.session("test/paint").__aenter__()
            assert (await session.request("GET", "/health")).ok
            dead = network if session.orchestrator == network.url else other
            dead.processes[0].kill()
            before = open_things()
            with pytest.raises(ConnectionFailedError):
                await session.request("GET", "/health", timeout=5)
            await asyncio.wait_for(session.aclose(), 5)  # telling it fails, and is not waited for
            async with gw.session("test/paint") as session:
                assert session.orchestrator in urls and session.orchestrator != dead.url
                assert (await session.request("GET", "/health")).ok
                idle = dead
            other_one = other if idle is network else network
            other_one.processes[0].kill()
            with pytest.raises(LivepeerError) as caught:
                await gw.session("test/paint", timeout=5).__aenter__()
            assert not caught.value.may_have_run
            assert open_things()[2] <= before[2]
    finally:
        for process in (*network.processes, *other.processes):
            process.kill()


CALLER = """
import asyncio, sys
from livepeer.client import Gateway

async def main() -> None:
    gw = Gateway(orch_url=sys.argv[1], tls="insecure")
    async with gw.session("test/paint") as session:
        assert (await session.request("GET", "/health")).ok
        print("holds it", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


def caller(network: Network, tmp_path: Path) -> Process:
    program = tmp_path / "caller.py"
    program.write_text(CALLER)
    process = Process("caller", program, network.url, cwd=tmp_path, env={})
    network.processes.append(process)
    process.find("holds it")
    return process


async def test_a_caller_that_is_interrupted_gives_its_session_back(
    network: Network, gw: Gateway, tmp_path: Path
) -> None:
    runner(network, "paint")
    process = await asyncio.to_thread(caller, network, tmp_path)
    assert await free(gw, "test/paint") == 0
    process._popen.send_signal(signal.SIGINT)
    await becomes_free(gw, "test/paint", 1)
    process.kill()


async def test_the_place_of_a_caller_that_dies_without_a_word_is_freed_by_the_runner(
    network: Network, gw: Gateway, tmp_path: Path
) -> None:
    runner(network, "paint")
    process = await asyncio.to_thread(caller, network, tmp_path)
    process.kill()
    with pytest.raises(NoCapacityError):
        await gw.session("test/paint", timeout=3).__aenter__()
    await becomes_free(gw, "test/paint", 1, limit=150)
    async with gw.session("test/paint") as session:
        assert (await session.request("GET", "/health")).ok


async def test_a_hundred_sessions_and_calls_leave_nothing_open(
    network: Network, gw: Gateway
) -> None:
    runner(network, "paint")

    async def one(i: int) -> Any:
        async with gw.session("test/paint") as session:
            if i % 3 == 0:
                await session.request("GET", "/health")
            elif i % 3 == 1:
                await session.request("GET", "/openapi.json", stream=True)
            else:
                await asyncio.sleep(0)

    async def cut(i: int) -> None:
        task = asyncio.create_task(one(0))
        await asyncio.sleep(0.001 * i)
        task.cancel()
        await asyncio.wait([task])

    await one(0)
    await becomes_free(gw, "test/paint", 1)
    before = open_things()
    for i in range(60):
        await one(i)
    for i in range(40):
        await cut(i)
    await becomes_free(gw, "test/paint", 1)
    after = open_things()
    assert after[2] <= before[2] and after[1] <= before[1]
    assert after[0] <= before[0] + 2, (before, after)  # a connection or two that are kept open
