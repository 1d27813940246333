"""Cancelled at any of its awaits, nothing of the runner's leaves a task, a socket or a process."""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from livepeer.runner import Pipeline
from livepeer.runner.cli.process import Child
from livepeer.runner.devnet import LocalChain, LocalGateway, LocalOrchestrator, LocalSigner
from livepeer.runner.devnet.byoc.capabilities import Capabilities
from livepeer.runner.devnet.byoc.streams import ByocStreams, _RunningStream
from livepeer.runner.doctor.listeners import stranger
from livepeer.runner.local.http import listening
from livepeer.runner.playground.board import Board
from livepeer.runner.playground.server import Playground
from livepeer.runner.registration import Capability, Registration
from livepeer.runner.serving.app import create_app
from livepeer.runner.serving.listener import bind
from livepeer.runner.settings import Settings
from livepeer.runner.targets import image_container
from livepeer.runner.targets.class_process import class_instance
from livepeer.trickle.server import TrickleServer

AtEachWait = Callable[..., Coroutine[Any, Any, int]]

AGAIN = pytest.mark.parametrize(
    "again",
    [
        pytest.param(0, id="once"),
        pytest.param(1, id="and at the next", marks=pytest.mark.slow),
        pytest.param(2, id="and at the second", marks=pytest.mark.slow),
    ],
)


@AGAIN
async def test_the_local_network(cancelled_at_each_wait: AtEachWait, again: int) -> None:
    chain = LocalChain()

    async def use() -> None:
        async with (
            LocalOrchestrator(live_runners=True, chain=chain) as orchestrator,
            LocalGateway([orchestrator.url]),
            LocalSigner(chain),
        ):
            await asyncio.sleep(0)

    assert await cancelled_at_each_wait(use, again=again) > 4


@AGAIN
async def test_the_playground(cancelled_at_each_wait: AtEachWait, again: int) -> None:
    async def use() -> None:
        async with Playground(Board()):
            await asyncio.sleep(0)

    assert await cancelled_at_each_wait(use, again=again) > 2


@AGAIN
async def test_a_stranger(cancelled_at_each_wait: AtEachWait, again: int) -> None:
    async def use() -> None:
        async with stranger("127.0.0.1"):
            await asyncio.sleep(0)

    assert await cancelled_at_each_wait(use, again=again) > 1


async def test_all_channels_of_a_stream_end_by_a_request_that_is_cancelled_as_they_do() -> None:
    server = TrickleServer(autocreate=False)
    names = ["one", "one-out", "one-control"]
    for name in names:
        server.create(name)
    nothing: Any = None
    streams = ByocStreams(Capabilities(), nothing, nothing, server, "")
    streams._running["one"] = _RunningStream("one", nothing, names)
    ending = asyncio.create_task(streams._remove("one"))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait((ending,))
    assert ending.cancelled()
    assert not server.channels


@pytest.mark.slow
@AGAIN
async def test_a_registration(
    elsewhere: Callable[..., LocalOrchestrator], cancelled_at_each_wait: AtEachWait, again: int
) -> None:
    orchestrator = elsewhere(LocalOrchestrator())
    capability = Capability(name="mine", url="http://127.0.0.1:9", capacity=1)

    async def use() -> None:
        async with Registration(
            orchestrator.url,
            orchestrator.secret,
            capability=capability,
            tls="insecure",
            kind="both",
        ) as registration:
            await registration.settled()
            assert {each.status for each in registration.state} == {"registered"}

    def told(where: str) -> None:
        if not again:  # who is cancelled as it unregisters does so again, once
            assert orchestrator.capabilities.get("mine") is None, where
            assert not list(orchestrator.runners), where

    assert await cancelled_at_each_wait(use, again=again, after=told) > 3


@pytest.mark.slow
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21])
async def test_who_is_cancelled_as_it_unregisters_is_unregistered(
    elsewhere: Callable[..., LocalOrchestrator], turns: int
) -> None:
    orchestrator = elsewhere(LocalOrchestrator())
    registration = await Registration(
        orchestrator.url,
        orchestrator.secret,
        capability=Capability(name="mine", url="http://127.0.0.1:9", capacity=1),
        tls="insecure",
        kind="both",
    ).__aenter__()
    await registration.settled()
    leaving = asyncio.create_task(registration.__aexit__())
    for _ in range(turns):
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait((leaving,), timeout=30)
    if turns:  # else it did not begin
        assert orchestrator.capabilities.get("mine") is None
        assert not list(orchestrator.runners)
    await registration.__aexit__()


@pytest.mark.slow
@AGAIN
async def test_processes_of_pipelines(
    tmp_path: Path, cancelled_at_each_wait: AtEachWait, again: int
) -> None:
    lasting = tmp_path / "lasting.py"
    lasting.write_text("import time\ntime.sleep(600)\n")

    async def use() -> None:
        with bind("127.0.0.1", 0) as listener:
            child = Child(str(lasting), {}, listener, "token", successor=False)
            await child.start()
            try:
                await asyncio.sleep(0.01)
            finally:
                await child.aclose()
        async with class_instance(str(lasting), {}):
            await asyncio.sleep(0.01)

    assert await cancelled_at_each_wait(use, again=again) > 3


@pytest.mark.slow
async def test_a_pipeline_in_this_process(cancelled_at_each_wait: AtEachWait) -> None:
    class Echo(Pipeline):
        def predict(self, n: int) -> int:
            return n

    async def use() -> None:
        async with listening(create_app(Echo, Settings())) as url, httpx.AsyncClient() as http:
            await http.get(f"{url}/health")

    assert await cancelled_at_each_wait(use) > 3


async def test_a_container_that_starts_as_its_caller_is_cancelled_is_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    told: list[str] = []

    @contextmanager
    def started(*_: Any, **__: Any) -> Iterator[None]:
        begun.set()
        assert go_on.wait(30)
        told.append("started")
        yield
        told.append("removed")

    monkeypatch.setattr(image_container, "started", started)
    image: Any = types.SimpleNamespace(engine=None, name="", port=0, read_only=True)
    starting = asyncio.create_task(image_container.image_instance(image, {}).__aenter__())
    await asyncio.to_thread(begun.wait)
    starting.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait((starting,), timeout=30)
    assert starting.cancelled() and told == ["started", "removed"]
