"""Cancelled at any of its awaits, nothing of the runner's leaves a task, a socket or a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from livepeer.runner.devnet import LocalChain, LocalGateway, LocalOrchestrator, LocalSigner
from livepeer.runner.devnet.byoc.capabilities import Capabilities
from livepeer.runner.devnet.byoc.streams import ByocStreams, _RunningStream
from livepeer.runner.doctor.listeners import stranger
from livepeer.runner.playground.board import Board
from livepeer.runner.playground.server import Playground
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
