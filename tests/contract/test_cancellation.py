"""A caller that is cancelled, wherever it is: nothing stays here, and nothing reserved there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from livepeer.client import Gateway, LivepeerError
from livepeer.runner.devnet import LocalOrchestrator

from .live_runners import ForeignApp, gateway, heartbeat, reserved, serving, until

AtEachWait = Callable[..., Coroutine[Any, Any, int]]
Elsewhere = Callable[..., LocalOrchestrator]
Use = Callable[[Gateway], Coroutine[Any, Any, None]]

PERSISTENT, SINGLE = "other/app", "other/shot"


@asynccontextmanager
async def network() -> AsyncIterator[LocalOrchestrator]:
    many, shot = ForeignApp(), ForeignApp()
    async with LocalOrchestrator() as orchestrator, serving(many), serving(shot):
        await heartbeat(
            orchestrator, many, runner_id="a", app=PERSISTENT, mode="persistent", capacity=50
        )
        await heartbeat(
            orchestrator, shot, runner_id="b", app=SINGLE, mode="single-shot", capacity=50
        )
        yield orchestrator


async def requests(gw: Gateway) -> None:
    async with gw.session(PERSISTENT) as session:
        await session.request("POST", "/json", json={"x": 1})
        async with await session.request("GET", "/events?hang", stream=True) as answer:
            await anext(answer.events())
        await session.request("GET", "/events?hang", stream=True)  # left to the session to close


async def sockets(gw: Gateway) -> None:
    async with gw.session(PERSISTENT) as session:
        async with await session.websocket("/chat") as ws:
            await ws.send("hello")
            await ws.receive()
        await session.websocket("/chat")  # left to the session to close, as the next
        ws = await session.websocket("/chat")
        reading = asyncio.ensure_future(ws.receive())
        reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.sleep(0)


async def channels(gw: Gateway) -> None:
    async with gw.session(PERSISTENT) as session:
        urls = (await session.request("POST", "/channels")).json()
        channel = session.channel(urls["in"])
        async with channel.publisher(linger=0, delete_on_close=False) as publisher:
            async with channel.subscriber(start=0) as segments:
                await publisher.write(b"x")
                await (await anext(segments)).read()
            records = session.channel(urls["out"]).record_publisher(linger=0)
            await records.__aenter__()  # left to the session to close
            await records.write({"a": 1})


async def single_requests(gw: Gateway) -> None:
    async with gw.session(SINGLE) as session:
        await session.request("POST", "/json", json={"x": 1})
        await session.request("GET", "/events?hang", stream=True)


async def runs(gw: Gateway) -> None:
    await gw.run_async(SINGLE, input={"x": 1}, route="json")


async def streams(gw: Gateway) -> None:
    async with gw.stream_async(SINGLE, input={}, route="events") as events:
        await anext(events)


@pytest.mark.slow
@pytest.mark.parametrize("again", [0, 1, 2], ids=["once", "and at the next", "and at the second"])
@pytest.mark.parametrize("use", [requests, sockets, channels, single_requests, runs, streams])
async def test_cancelled_at_any_await_a_caller_leaves_nothing(
    elsewhere: Elsewhere, cancelled_at_each_wait: AtEachWait, use: Use, again: int
) -> None:
    orchestrator = elsewhere(network())

    async def used() -> None:
        async with gateway(orchestrator, timeout=20) as gw:
            await use(gw)

    used.__name__ = use.__name__
    assert await cancelled_at_each_wait(used, again=again, allowed=(LivepeerError,)) > 4
    await until(lambda: not reserved(orchestrator))
