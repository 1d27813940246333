"""Each channel of a live session loses its connection: the session, and what it carries, go on."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from livepeer.client import Gateway, LiveSession
from livepeer.client.live import calls as live_calls
from livepeer.client.live.stream import Live
from livepeer.trickle.testing import FaultProxy

from .live import LIMIT, endless, take, u_of

CHANNELS = ["publish", "subscribe", "control", "events", "data"]


@pytest.fixture(autouse=True)
def frequent_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """`_works` waits for the next one."""
    monkeypatch.setattr("livepeer.runner.live.status.BEAT_SECONDS", 0.6)


@pytest.fixture
async def wires(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, FaultProxy]]:
    """A network of its own for each channel, by name; they are there once a session is started."""
    found: dict[str, FaultProxy] = {}
    start = live_calls.LiveCalls.start
    async with contextlib.AsyncExitStack() as stack:

        async def through_proxies(self: Any, *arguments: Any) -> Live:
            live = await start(self, *arguments)
            for name in CHANNELS:
                found[name] = await stack.enter_async_context(FaultProxy(live.base))
            urls = {
                f"{name}_url": found[name].rewrite(getattr(live, f"{name}_url"))
                for name in CHANNELS
            }
            return dataclasses.replace(live, **urls)

        monkeypatch.setattr(live_calls.LiveCalls, "start", through_proxies)
        yield found


async def _works(session: LiveSession, frames: Any, data: Any, u: int) -> None:
    """Everything passes: parameters in, pictures out, records out, status out."""
    await _told(session, u)
    async with asyncio.timeout(LIMIT):
        async for frame in frames:
            if abs(u_of(frame) - u) < 3:
                break
    first = (await take(data, 1))[0]["seen"]
    records = await take(data, 3)
    # A stream that was started again would count from the beginning.
    assert [record["seen"] for record in records] == sorted(record["seen"] for record in records)
    assert records[0]["seen"] > first
    count = session.stats().events
    async with asyncio.timeout(LIMIT):
        async for _ in session.events():
            if session.stats().events > count:
                break
    assert session.ended is None


async def _told(session: LiveSession, u: int) -> None:
    """A control message may be lost with its connection, and says so: then it is sent again."""
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                await session.control({"u": u}, raw=True)
                return
            except ConnectionError:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("how", ["cut", "away"])
@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_channel_that_loses_its_connection_is_opened_again(
    network: Callable[..., Any], wires: dict[str, FaultProxy], channel: str, how: str
) -> None:
    orchestrator = await network(tls=False)
    async with Gateway(orch_url=orchestrator.url) as gw, gw.live("tint") as session:
        publication = session.publish(endless())
        frames, data = session.subscribe(), session.data()
        await take(data, 1)  # what it says at its start
        await _works(session, frames, data, 40)
        stream = orchestrator.trickle.get(f"{session.stream_id}-control")
        accepted = wires[channel].accepted
        if how == "cut":
            wires[channel].cut()
        else:
            await wires[channel].refuse()
            await asyncio.sleep(1.0)  # the outage
            await wires[channel].accept()
        await _works(session, frames, data, 200)
        assert wires[channel].accepted > accepted
        assert orchestrator.trickle.get(f"{session.stream_id}-control") is stream
        assert not publication.done
        await data.aclose()
