"""What a stream's loop gives: values, with progress beside them, and what came where it broke."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from livepeer.client import (
    Gateway,
    InsufficientBalanceError,
    LivepeerError,
    NoCapacityError,
    PipelineError,
    ProtocolError,
    StreamEvent,
    StreamInterruptedError,
    streams,
)
from livepeer.client.testing import CUT, EVENT_STREAM, chunk, events

Start = Callable[..., Any]
DONE = "data: [DONE]\n\n"
PROGRESS = 'event: progress\ndata: {"progress":0.5,"message":"half"}\n\n'


def failed(kind: str) -> str:
    return f'event: error\ndata: {{"error":{{"type":"{kind}","message":"shutting down"}}}}\n\n'


async def in_thread(function: Callable[[], Any]) -> Any:
    return await asyncio.wait_for(asyncio.to_thread(function), 30)


def token(i: int) -> str:
    return f'data: {{"token":{i}}}\n\n'


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_the_loop_gives_values_and_progress_is_told_beside_them(
    start: Start, sync: bool
) -> None:
    orch = await start(job=events(PROGRESS, token(1), "event: own\n" + token(2), PROGRESS, DONE))
    gw = Gateway(orch_url=orch.url)

    def use() -> list[Any]:
        with gw.stream("llm") as stream:
            assert stream.progress is None
            found = [event.json()["token"] for event in stream]
            assert stream.progress == StreamEvent('{"progress":0.5,"message":"half"}', "progress")
            return found

    async def use_async() -> list[Any]:
        async with gw.stream_async("llm") as stream:
            assert stream.progress is None
            found = [event.json()["token"] async for event in stream]
            assert stream.progress is not None and stream.progress.json()["progress"] == 0.5
            return found

    assert await (in_thread(use) if sync else use_async()) == [1, 2]
    assert await gw.run_async("llm") == [{"token": 1}, {"token": 2}]
    await gw.aclose()


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_all_gives_every_event_and_goes_on_where_the_loop_was(
    start: Start, sync: bool
) -> None:
    orch = await start(job=events(token(1), PROGRESS, token(2), PROGRESS, DONE))
    gw = Gateway(orch_url=orch.url)

    def use() -> list[str]:
        with gw.stream("llm") as stream:
            assert next(stream).json() == {"token": 1}
            return [event.event for event in stream.all()]

    async def use_async() -> list[str]:
        async with gw.stream_async("llm") as stream:
            assert (await anext(stream)).json() == {"token": 1}
            return [event.event async for event in stream.all()]

    assert await (in_thread(use) if sync else use_async()) == ["progress", "message", "progress"]
    await gw.aclose()


@pytest.mark.parametrize("end", ["cut", "no mark", "error", "balance"])
@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_the_error_of_a_stream_holds_the_values_that_came_before_it(
    start: Start, end: str, sync: bool
) -> None:
    sent = [token(i) for i in range(39)]
    read = asyncio.Event()
    kind: type[LivepeerError]
    match end:
        case "cut":
            # What has not been read by then may be lost with the connection.
            job = [EVENT_STREAM, *map(chunk, [*sent, PROGRESS]), read, CUT]
            kind = StreamInterruptedError
        case "no mark":
            job, kind = events(*sent), StreamInterruptedError
        case "error":
            job, kind = events(*sent, failed("cuda")), PipelineError
        case _:
            spent = "event: insufficient balance\ndata: {}\n\n"
            job, kind = events(*sent, spent), InsufficientBalanceError
    orch = await start(job=job)
    gw = Gateway(orch_url=orch.url)
    values = tuple({"token": i} for i in range(39))

    loop = asyncio.get_running_loop()

    def use() -> None:
        with gw.stream("llm") as stream:
            for event in stream:
                if event.json() == values[-1]:
                    loop.call_soon_threadsafe(read.set)

    async def use_async() -> None:
        async with gw.stream_async("llm") as stream:
            async for event in stream:
                if event.json() == values[-1]:
                    read.set()

    with pytest.raises(kind) as caught:
        await (in_thread(use) if sync else use_async())
    assert caught.value.received == values and caught.value.may_have_run
    if end != "cut":
        with pytest.raises(kind) as caught:
            await gw.run_async("llm")
        assert caught.value.received == values
    await gw.aclose()


async def test_what_an_error_keeps_of_a_long_stream_are_its_last_values(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livepeer.client.network.event_stream.KEPT_EVENTS", 3)
    orch = await start(job=events(*(token(i) for i in range(9))))
    async with Gateway(orch_url=orch.url) as gw, gw.stream_async("llm") as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            async for _ in stream:
                pass
    assert caught.value.received == tuple({"token": i} for i in (6, 7, 8))


@pytest.mark.parametrize("kind", ["not_ready", "over_capacity"])
@pytest.mark.parametrize("before", [[], [": heartbeat\n\n"], [PROGRESS], [token(0)]])
async def test_a_stream_that_began_is_never_believed_not_to_have_run(
    start: Start, kind: str, before: list[str]
) -> None:
    """Only a refusal that is the very first thing that comes says that nothing has run."""
    orch = await start(job=events(*before, failed(kind)))
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(LivepeerError) as caught:
            await gw.run_async("llm")
        assert caught.value.may_have_run is bool(before)
        assert isinstance(caught.value, PipelineError if before else NoCapacityError)
        assert "shutting down" in str(caught.value)
        with pytest.raises(LivepeerError) as caught:
            async with gw.stream_async("llm") as stream:
                async for _ in stream:
                    pass
        assert caught.value.may_have_run is bool(before)


async def test_a_collected_stream_is_bounded_as_a_whole(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "COLLECTED_LIMIT", 10_000)
    orch = await start(job=events(*(f"data: {i}\n\n" for i in range(1000)), DONE))
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(ProtocolError, match=r"over 10,000 bytes.*stream\(\)") as caught:
            await gw.run_async("llm")
        assert caught.value.may_have_run and caught.value.received[:2] == (0, 1)
        async with gw.stream_async("llm") as stream:
            assert len([event async for event in stream]) == 1000
