"""More callers than places: every call of the default settings gets its result, and runs once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest

from livepeer.client import Gateway
from livepeer.runner import Pipeline, create_app
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.settings import Settings
from livepeer.runner.testing import LocalServer

from .live import register

CALLS = 20


class Once(Pipeline):
    """Takes a millisecond, one call at a time, and says how often it ran."""

    name = "once"
    runs: ClassVar[list[int]] = []

    async def predict(self, i: int) -> int:
        self.runs.append(i)
        await asyncio.sleep(0.001)
        return i


@pytest.fixture(params=[None, 0.0], ids=["container queues", "only the client waits"])
async def gw(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Gateway]:
    monkeypatch.setenv("LIVEPEER_PINS", str(tmp_path / "pins.json"))
    Once.runs.clear()
    async with contextlib.AsyncExitStack() as stack:
        settings = Settings(capacity=1, queue_timeout=request.param)
        server = stack.enter_context(LocalServer(create_app(Once, settings)))
        await asyncio.to_thread(server.wait_settled, 30)
        orchestrator = await stack.enter_async_context(LocalOrchestrator())
        await register(orchestrator.url, orchestrator.secret, {"once": server.url})
        yield await stack.enter_async_context(Gateway(orch_url=orchestrator.url, tls="pin"))


async def test_twenty_calls_at_once_of_one_place_all_succeed_and_run_once(gw: Gateway) -> None:
    results = await asyncio.gather(*(gw.run_async("once", input={"i": i}) for i in range(CALLS)))
    assert results == list(range(CALLS))
    assert sorted(Once.runs) == list(range(CALLS))
