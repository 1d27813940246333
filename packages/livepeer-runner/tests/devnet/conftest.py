"""A container and a caller for the local network."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from livepeer.runner.devnet import LocalOrchestrator

LIMIT = 30


@pytest.fixture
def envelope() -> Callable[..., dict[str, str]]:
    """Headers with a `Livepeer` envelope for a capability."""

    def make(capability: str, *, id: str = "job", timeout: int = 5, **more: str) -> dict[str, str]:
        job = {
            "id": id,
            "request": "{}",
            "parameters": "{}",
            "capability": capability,
            "sender": "",
            "sig": "",
            "timeout_seconds": timeout,
            **more,
        }
        return {"Livepeer": base64.b64encode(json.dumps(job).encode()).decode()}

    return make


@pytest.fixture
def container() -> Callable[..., AbstractAsyncContextManager[str]]:
    """Serves one handler for every path, and gives its URL."""

    @asynccontextmanager
    async def serve(
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()

    return serve


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A caller; certificates of a local network cannot be verified."""
    timeout = aiohttp.ClientTimeout(total=LIMIT)
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as opened:
        yield opened


@pytest.fixture
def register(
    session: aiohttp.ClientSession,
) -> Callable[..., Awaitable[None]]:
    async def call(orchestrator: LocalOrchestrator, **capability: object) -> None:
        async with session.post(
            f"{orchestrator.url}/capability/register",
            json={"capacity": 1, **capability},
            headers={"Authorization": orchestrator.secret},
        ) as answer:
            assert (answer.status, await answer.text()) == (200, "ok")

    return call


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    async def wait(check: Callable[[], bool]) -> None:
        for _ in range(1500):
            if check():
                return
            await asyncio.sleep(0.02)
        raise AssertionError("it did not come to that")

    return wait
