"""The local network with live pipelines on it; modules with other pipelines have their own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from livepeer.client import Gateway
from livepeer.runner import create_app
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.settings import Settings
from livepeer.runner.testing import LocalServer
from livepeer.trickle.media import encode

from .live import PIPELINES, pictures, register


@pytest.fixture(scope="module")
def containers() -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(LocalServer(create_app(cls, Settings())))
            for name, cls in PIPELINES.items()
        }
        for server in servers.values():
            server.wait_settled(30)
        yield {name: server.url for name, server in servers.items()}


@pytest.fixture
async def network(
    containers: dict[str, str],
) -> AsyncIterator[Callable[..., Any]]:
    """Starts local orchestrators that know the pipelines."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**options: Any) -> LocalOrchestrator:
            orchestrator = await stack.enter_async_context(LocalOrchestrator(**options))
            await register(orchestrator.url, orchestrator.secret, containers)
            return orchestrator

        yield start


@pytest.fixture
async def gw(
    network: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Gateway]:
    monkeypatch.setenv("LIVEPEER_PINS", str(tmp_path / "pins.json"))
    orchestrator = await network()
    async with Gateway(orch_url=orchestrator.url, tls="pin", timeout=30) as gw:
        yield gw


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    encode(pictures(60), str(path), format="mp4")
    return path
