"""Faults of a persistent live runner, each part a process of its own: nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from livepeer.runner.attach.live_runner import beat

from .runner_registry import RunnerRegistry

LIMIT = 90.0
ORCHESTRATOR = """
import asyncio, sys
from livepeer.runner.devnet import LocalOrchestrator
async def main():
    async with LocalOrchestrator(
        secret="s", port=int(sys.argv[1]), heartbeat_interval=0.3, heartbeat_ttl=3.0
    ) as orchestrator:
        print(orchestrator.url, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
RUNNER = """
import asyncio, os, sys
from starlette.responses import JSONResponse
from starlette.routing import Route
from livepeer.runner import LivePipeline
from livepeer.runner.serving.listener import bind
from livepeer.runner.serving.server import serve_on
from livepeer.runner.settings import OrchestratorAddress, RegistrationSettings, Secret, Settings

class Pass(LivePipeline):
    capacity = 2
    linger = 0
    def process_video(self, frame):
        return frame

async def inspect(request):
    tasks = [task.get_name() for task in asyncio.all_tasks()]
    return JSONResponse({
        "tasks": [name for name in tasks if not name.startswith("Task-")],
        "unnamed": sum(name.startswith("Task-") for name in tasks),
        "fds": len(os.listdir("/proc/self/fd")),
    })

def with_inspection(app):
    app.router.routes.append(Route("/inspect", inspect))
    return app

address = OrchestratorAddress(sys.argv[1], Secret("s"))
wanted = RegistrationSettings((address,), kind="live-runner", app="org/pass")
bound = bind("127.0.0.1", 0)
print(bound.getsockname()[1], flush=True)
serve_on(bound, Pass, Settings(registration=wanted), with_inspection)
"""


@asynccontextmanager
async def program(source: str, argument: str) -> AsyncIterator[tuple[Any, str]]:
    """A process, and the first line that it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, argument, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(LIMIT):
            yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                if await holds():
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


class Net:
    """What a caller sees of an orchestrator, and a test of the runner."""

    def __init__(self, http: httpx.AsyncClient, orchestrator: str, runner: str) -> None:
        self.http, self.url, self.runner = http, orchestrator, runner

    async def listed(self) -> list[dict[str, Any]]:
        (entry,) = (await self.http.get(f"{self.url}/discovery")).json()
        found: list[dict[str, Any]] = entry.get("runners", [])
        return found

    async def is_listed(self) -> bool:
        return len(await self.listed()) == 1

    async def session(self) -> dict[str, str]:
        answer = await self.http.post((await self.listed())[0]["url"])
        assert answer.status_code == 200, answer.text
        found: dict[str, str] = answer.json()
        started = await self.http.post(f"{found['app_url']}/stream/start", json={"params": {}})
        assert started.status_code == 200, started.text
        return found

    async def in_flight(self) -> int:
        return int((await self.http.get(f"{self.runner}/health")).json()["in_flight"])

    async def is_idle(self) -> bool:
        return await self.in_flight() == 0

    async def left(self) -> tuple[Counter[str], int]:
        """Named tasks, and open files."""
        found = (await self.http.get(f"{self.runner}/inspect")).json()
        return Counter(found["tasks"]), found["fds"]


@pytest.mark.slow
async def test_an_orchestrator_that_is_killed_is_joined_again_idle_and_in_mid_session(
    unused_tcp_port: int,
) -> None:
    port = str(unused_tcp_port)
    async with httpx.AsyncClient(verify=False, timeout=LIMIT, trust_env=False) as http:
        async with (
            program(ORCHESTRATOR, port) as (first, url),
            program(RUNNER, url) as (runner, at),
        ):
            net = Net(http, url, f"http://127.0.0.1:{at}")
            await until(net.is_listed)
            warm = await net.session()
            await http.post(f"{warm['control_url']}/stop")
            await until(net.is_idle)
            tasks, files = await net.left()
            ids = {(await net.listed())[0]["url"]}

            await net.session()
            assert await net.in_flight() == 1
            first.kill()
            await first.wait()
            async with program(ORCHESTRATOR, port) as (second, _):
                await until(net.is_listed)
                await until(net.is_idle)  # its session is nobody's any more
                ids.add((await net.listed())[0]["url"])
                second.kill()  # while nothing runs
                await second.wait()
            async with program(ORCHESTRATOR, port):
                await until(net.is_listed)
                ids.add((await net.listed())[0]["url"])
                assert len(ids) == 3
                sessions = [await net.session(), await net.session()]
                full = await http.post((await net.listed())[0]["url"])
                assert (full.status_code, full.text) == (
                    503,
                    "no capacity available for runner\n",
                )
                for session in sessions:
                    await http.post(f"{session['control_url']}/stop")
                await until(net.is_idle)

                async def clean() -> bool:
                    now, open_files = await net.left()
                    return now == tasks and open_files <= files + 2

                await until(clean)
                assert (await net.listed())[0]["capacity_used"] == 0
                runner.send_signal(signal.SIGTERM)
                assert await runner.wait() == 0
                assert await net.listed() == []


async def test_a_clock_that_jumps_delays_no_heartbeat(tmp_path: Path) -> None:
    """The program that sends them, with a wall clock that goes a day back and forth."""
    jumping = tmp_path / "jumping.py"
    jumping.write_text(
        "import itertools, runpy, time\n"
        "real, days = time.time, itertools.cycle((0, 86400, -86400))\n"
        "time.time = lambda: real() + next(days)\n"
        f"runpy.run_path({beat.__file__!r}, run_name='__main__')\n"
    )
    async with RunnerRegistry(interval="50ms") as registry:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(jumping),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            plan = {
                "number": 1,
                "url": f"{registry.url}/runners/heartbeat",
                "headers": {"Authorization": registry.secret},
                "body": json.dumps({"runner_id": "one"}),
                "interval": 0.05,
                "first": 0.0,
                "limit": 5,
                "trust": "insecure",
            }
            began = asyncio.get_running_loop().time()
            registry.script = [(200, "{}")] * 1000
            process.stdin.write(json.dumps({"plan": plan}).encode() + b"\n")
            async with asyncio.timeout(LIMIT):
                while len(registry.asked) < 20:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert asyncio.get_running_loop().time() - began > 0.9  # and none came too early
        finally:
            process.stdin.close()
            async with asyncio.timeout(LIMIT):
                assert await process.wait() == 0
