"""An orchestrator that is a process of its own: killed without a word, and started again."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from livepeer.runner.attach.byoc.client import OrchestratorClient, available_capacity
from livepeer.runner.registration import Capability, Registration, Timing
from livepeer.runner.settings import OrchestratorAddress, Secret

LIMIT = 60.0
QUICK = Timing(probe=0.05, confirm=0.02, request=5.0, retry_first=0.02, retry_most=0.1)
PROGRAM = """
import asyncio, sys
from livepeer.runner.devnet import LocalOrchestrator
async def main():
    async with LocalOrchestrator(secret="s", port=int(sys.argv[1])) as orchestrator:
        print(orchestrator.url, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@asynccontextmanager
async def orchestrator(port: int = 0) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(port), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(LIMIT):
            yield (await process.stdout.readline()).decode().strip(), process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def free_places(url: str) -> int | None:
    address = OrchestratorAddress(url, Secret("s"))
    async with OrchestratorClient(address, tls=False, timeout=5) as client:
        return available_capacity(await client.token("echo"))


async def status(kept: Registration, wanted: str) -> None:
    async with asyncio.timeout(LIMIT):
        while kept.state[0].status != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_killed_orchestrator_is_waited_for_and_joined_again() -> None:
    capability = Capability(name="echo", url="http://127.0.0.1:9", capacity=3)
    async with orchestrator() as (url, process):
        kept = Registration(url, "s", capability=capability, timing=QUICK)
        await kept.__aenter__()
        try:
            await status(kept, "registered")
            assert await free_places(url) == 3
            process.send_signal(signal.SIGKILL)
            await status(kept, "retrying")
            async with orchestrator(int(url.rsplit(":", 1)[1])) as (again, _):
                await status(kept, "registered")
                assert again == url
                assert await free_places(url) == 3
                await kept.__aexit__(None, None, None)
                assert await free_places(url) == 0
        finally:
            if kept.state[0].status != "unregistered":
                await kept.__aexit__(None, None, None)
