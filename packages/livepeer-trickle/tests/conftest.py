import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from livepeer.trickle import Timeouts, TrickleServer
from livepeer.trickle.testing import FaultProxy, ScriptedServer


@pytest.fixture
async def server() -> AsyncIterator[TrickleServer]:
    """A real server with the channel `cam`; clients may make others."""
    async with TrickleServer() as server:
        server.create("cam", "video/MP2T")
        yield server


@pytest.fixture
async def orchestrator() -> AsyncIterator[TrickleServer]:
    """A real server that makes no channel for its clients, so that what is deleted stays so."""
    async with TrickleServer(autocreate=False) as server:
        yield server


@pytest.fixture
async def proxy(server: TrickleServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer(limit=30) as server:
        yield server


@pytest.fixture
def quick() -> Timeouts:
    """Limits short enough to wait for, long enough for a busy machine."""
    return Timeouts(connect=5.0, write=5.0, answer=5.0, silence=1.0, outage=5.0)


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Wait until a condition holds; fails after thirty seconds."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 — conditions of any kind
                await asyncio.sleep(0.005)

    return wait
