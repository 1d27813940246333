"""What callers do while a pipeline runs: change it, share it, fill it, leave it."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest

from livepeer.client import Gateway, InvalidInputError, NoCapacityError
from livepeer.trickle.media import VideoFrame

from .media import LIMIT, chroma, endless, take
from .network import EXAMPLES, HERE, Container, Network

PIPELINES = HERE / "pipelines.py"


@pytest.fixture(scope="module")
def tint(shared: Network) -> Container:
    return shared.serve(EXAMPLES / "live_tint" / "pipeline.py")


@pytest.fixture(scope="module")
def count(shared: Network) -> Container:
    return shared.serve(PIPELINES, "count")


@pytest.fixture(scope="module")
def paint(shared: Network) -> Container:
    return shared.serve(PIPELINES, "paint")


async def until_colour(frames: object, wanted: tuple[float, float]) -> None:
    async with asyncio.timeout(LIMIT):
        async for frame in frames:  # type: ignore[attr-defined]
            if isinstance(frame, VideoFrame) and np.allclose(chroma(frame), wanted, atol=3):
                return
    raise AssertionError(f"the stream ended before it was {wanted}")


async def test_parameters_change_while_the_stream_runs(gw: Gateway, tint: Container) -> None:
    async with gw.live(tint.capability, params={"u": 90, "v": 90}) as session:
        session.publish(endless())
        frames = session.subscribe()
        await until_colour(frames, (90, 90))
        answer = await session.update({"u": 200})
        assert answer["params"] == {"u": 200, "v": 90}, "what was not named stays"
        await until_colour(frames, (200, 90))
        with pytest.raises(InvalidInputError) as caught:
            await session.update({"u": 10, "v": 999})
        assert [field.field for field in caught.value.fields] == ["v"]
        await session.update({"v": 60})
        await until_colour(frames, (200, 60))
        assert session.ended is None


@pytest.mark.slow
async def test_two_streams_at_once_keep_their_own_colours(gw: Gateway, tint: Container) -> None:
    async def one(u: int) -> list[float]:
        async with gw.live(tint.capability, params={"u": u, "v": 128}) as session:
            session.publish(endless())
            return [chroma(frame)[0] for frame in await take(session.subscribe(), 40)]

    for wanted, found in zip((40, 210), await asyncio.gather(one(40), one(210)), strict=True):
        assert np.allclose(found, wanted, atol=3)


async def test_a_full_pipeline_says_so_and_has_room_again_afterwards(
    gw: Gateway, shared: Network, count: Container, paint: Container
) -> None:
    once = Gateway(orch_url=shared.url, tls="pin", max_retries=0)  # does not wait for a place
    async with once, gw.stream_async(count.capability) as events:
        await take(events, 1)
        with pytest.raises(NoCapacityError) as caught:
            await once.run_async(count.capability)
        assert not caught.value.may_have_run and caught.value.rejections
    async with once, gw.live(paint.capability) as session:
        session.publish(endless())
        await take(session.subscribe(), 3)
        with pytest.raises(NoCapacityError):
            await once.live(paint.capability).__aenter__()
        assert session.ended is None, "the refused one did not disturb it"
    async with asyncio.timeout(LIMIT):
        while True:
            with contextlib.suppress(NoCapacityError):
                async with gw.live(paint.capability):
                    break
            await asyncio.sleep(0.05)


async def test_leaving_a_stream_of_events_stops_the_pipeline(gw: Gateway, count: Container) -> None:
    before = len(count.process.lines)
    async with gw.stream_async(count.capability) as events:
        found = [event.json()["i"] for event in await take(events, 3)]
    assert found == [0, 1, 2]
    await count.process.says("the count was stopped", before)


@pytest.mark.slow
async def test_closing_a_session_stops_the_pipeline(gw: Gateway, paint: Container) -> None:
    before = len(paint.process.lines)
    async with gw.live(paint.capability, params={"u": 60}) as session:
        session.publish(endless())
        record = (await take(session.data(), 1))[0]
        assert record["u"] == 60
        await take(session.subscribe(), 3)
    assert session.ended == "ended by this side"
    await paint.process.says("the painting was stopped", before)


async def test_a_caller_that_is_cancelled_stops_the_pipeline(gw: Gateway, paint: Container) -> None:
    before = len(paint.process.lines)
    flowing = asyncio.Event()

    async def call() -> None:
        async with gw.live(paint.capability) as session:
            session.publish(endless())
            await take(session.subscribe(), 3)
            flowing.set()
            await take(session.subscribe())

    task = asyncio.create_task(call())
    async with asyncio.timeout(LIMIT):
        await flowing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await paint.process.says("the painting was stopped", before)
