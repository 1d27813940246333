"""Connections for the channels that are begun while a stream is being started."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from livepeer.client import Gateway, NoCapacityError
from livepeer.client.live.ahead import Ahead
from livepeer.client.testing import reply
from livepeer.trickle import Transport, TrickleServer

from .scripts import channels_at

Start = Callable[..., Any]


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where connections were begun."""
    found: list[str] = []
    opened = Ahead.open

    def open_(ahead: Ahead, place: str) -> None:
        found.append(place)
        opened(ahead, place)

    monkeypatch.setattr(Ahead, "open", open_)
    return found


async def test_channels_use_them_and_they_go_with_the_last_user() -> None:
    async with TrickleServer() as server:
        ahead = Ahead(False, 1, lambda: None)
        ahead.open(server.url)
        ahead.open(server.url)
        transport = Transport.lease(None)
        async with asyncio.timeout(10):
            while not transport.connections:  # noqa: ASYNC110 — nobody tells
                await asyncio.sleep(0.005)
        await transport.request("GET", f"{server.url}/x/next", tls=False)
        assert transport.connections == 1
        await Transport.release(transport)
        assert transport.connections == 1
        await ahead.aclose()
        await ahead.aclose()
        assert transport.connections == 0


async def test_they_are_given_back_also_by_one_that_is_cancelled() -> None:
    loaded, held = threading.Event(), threading.Event()

    def load() -> None:
        loaded.set()
        held.wait()

    async with TrickleServer() as server:
        ahead = Ahead(False, 1, load)
        ahead.open(server.url)
        await asyncio.to_thread(loaded.wait)
        shared = Transport.lease(None)
        await Transport.release(shared)
        closing = asyncio.create_task(ahead.aclose())
        await asyncio.sleep(0)  # it waits for the thread now
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert shared.connections == 0
        again = Transport.lease(None)
        assert again is not shared, "it still has a user"
        await Transport.release(again)
        held.set()


async def test_the_orchestrator_that_is_asked_is_connected_to(
    start: Start, places: list[str]
) -> None:
    async with TrickleServer() as channels:
        orch = await start(other=channels_at(channels))
        async with (
            Gateway(orch_url=orch.url, trickle_hosts="127.0.0.1") as gw,
            gw.live("tint", data=False),
        ):
            assert set(places) == {orch.url}


async def test_a_start_that_is_refused_leaves_no_connection(
    start: Start, places: list[str]
) -> None:
    orch = await start(other=lambda request: reply("no capacity", status=503))
    async with Gateway(orch_url=orch.url, max_retries=0) as gw:
        with pytest.raises(NoCapacityError):
            async with gw.live("tint"):
                pass
        transport = Transport.lease(None)
        assert transport.connections == 0  # a pool of its own: the other one was left by all
        await Transport.release(transport)
    assert set(places) == {orch.url}
