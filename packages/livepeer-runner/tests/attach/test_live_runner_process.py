"""Real processes: an orchestrator with the real interval (5 s) and limit (20 s), and a runner that
is killed."""

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psutil
import pytest

from livepeer.runner.registration import Capability, Registration

LIMIT = 100.0
RUNNER = """
import asyncio, sys
from livepeer.runner.registration import Capability, Registration
async def main():
    capability = Capability(name="a", app="org/a", url="http://127.0.0.1:9")
    async with Registration(sys.argv[1], "s", capability=capability, kind="live-runner") as kept:
        await kept.settled()
        print(kept.state[0].status, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
PROGRAM = """
import asyncio
from livepeer.runner.devnet import LocalOrchestrator
async def main():
    async with LocalOrchestrator(secret="s") as orchestrator:
        print(orchestrator.url, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@asynccontextmanager
async def orchestrator() -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(LIMIT):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def start(url: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        RUNNER,
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT):
        assert (await process.stdout.readline()).decode().strip() == "registered"
    return process


async def test_a_runner_that_is_killed_is_back_at_once_and_leaves_no_process() -> None:
    """The dead one's record stays for 20 s; its successor waits for nothing."""
    async with (
        orchestrator() as url,
        httpx.AsyncClient(verify=False, timeout=LIMIT, trust_env=False) as http,
    ):

        async def ids() -> set[str]:
            (entry,) = (await http.get(f"{url}/discovery")).json()
            return {runner["url"] for runner in entry.get("runners", [])}

        first = await start(url)
        (beating,) = psutil.Process(first.pid).children()
        # Where no terminal's Ctrl-C reaches it, not even while it starts.
        assert os.getsid(beating.pid) == beating.pid != os.getsid(first.pid)
        before = await ids()
        first.kill()
        await first.wait()
        second = await start(url)
        try:
            assert len(await ids() - before) == 1
            async with asyncio.timeout(LIMIT):
                while _lives(beating):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        finally:
            second.kill()
            await second.wait()


@pytest.mark.slow
async def test_four_runners_of_one_app_are_four_and_one_that_ends_takes_no_other_along() -> None:
    async with (
        orchestrator() as url,
        httpx.AsyncClient(verify=False, timeout=LIMIT, trust_env=False) as http,
    ):
        fleet = await asyncio.gather(*(start(url) for _ in range(4)))
        try:
            (entry,) = (await http.get(f"{url}/discovery")).json()
            assert len({runner["url"] for runner in entry["runners"]}) == 4
            assert {runner["app"] for runner in entry["runners"]} == {"org/a"}
            fleet[0].send_signal(signal.SIGINT)  # its `asyncio.run` leaves the registration
            await fleet[0].wait()
            (entry,) = (await http.get(f"{url}/discovery")).json()
            assert len(entry["runners"]) == 3
        finally:
            for process in fleet:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


@pytest.mark.slow
async def test_a_hook_that_holds_the_interpreter_for_25_seconds_loses_no_session() -> None:
    capability = Capability(name="a", app="org/a", url="http://127.0.0.1:9", mode="persistent")
    async with (
        orchestrator() as url,
        httpx.AsyncClient(verify=False, timeout=LIMIT, trust_env=False) as http,
        Registration(url, "s", capability=capability, kind="live-runner") as kept,
    ):

        async def used() -> list[int]:
            (entry,) = json.loads((await http.get(f"{url}/discovery")).text)
            runners: list[dict[str, Any]] = entry.get("runners", [])
            return [runner["capacity_used"] for runner in runners]

        await kept.settled()
        (entry,) = (await http.get(f"{url}/discovery")).json()
        reserved = await http.post(entry["runners"][0]["url"])
        assert reserved.status_code == 200
        ctypes.PyDLL(None).usleep(25_000_000)
        assert await used() == [1]
        await asyncio.sleep(3)
        assert await used() == [1]
        assert kept.state[0].status == "registered"
