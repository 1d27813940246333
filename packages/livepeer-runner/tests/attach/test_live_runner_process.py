"""The orchestrator as a process of its own, with the real interval (5 s) and limit (20 s)."""

import asyncio
import ctypes
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from livepeer.runner.registration import Capability, Registration

LIMIT = 100.0
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
