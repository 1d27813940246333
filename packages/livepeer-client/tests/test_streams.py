"""`stream` and `stream_async`: events as they come, back-pressure, and leaving early."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from typing import Any

import pytest

from livepeer.client import Gateway, InvalidInputError, PipelineError, StreamEvent
from livepeer.client.testing import EVENT_STREAM, HANG, chunk, events, reply

Start = Callable[..., Any]
DONE = 'data: {"balance": 0.500}\n\n\ndata: [DONE]\n\n'


async def in_thread(function: Callable[[], Any]) -> Any:
    return await asyncio.wait_for(asyncio.to_thread(function), 30)


async def test_events_come_as_they_are_sent(start: Start) -> None:
    second = asyncio.Event()
    orch = await start(
        job=events("event: token\nid: 1\nretry: 9\ndata: a\n\n", second, "data: b\n\n", DONE)
    )
    async with (
        Gateway(orch_url=orch.url) as gw,
        gw.stream_async("llm", input={"prompt": "hi"}) as stream,
    ):
        assert stream.orchestrator == orch.url and stream.job_id == orch.jobs[0].job["id"]
        assert await anext(stream) == StreamEvent("a", "token", "1", 9)
        second.set()
        assert await anext(stream) == StreamEvent("b", "message", "1")
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert stream.balance == "0.500"


async def test_the_sync_stream_gives_the_same_events(start: Start) -> None:
    orch = await start(job=events('data: {"i":0}\n\n', 'data: {"i":1}\n\n', DONE))
    gw = Gateway(orch_url=orch.url)

    def use() -> Any:
        with gw.stream("llm") as stream:
            found = [event.json() for event in stream]
            assert list(stream) == []
            return found, stream.orchestrator, stream.balance

    assert await in_thread(use) == ([{"i": 0}, {"i": 1}], orch.url, "0.500")
    await gw.aclose()


@pytest.mark.parametrize("how", ["break", "close", "drop"])
@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_leaving_a_stream_early_stops_the_pipeline(
    start: Start, how: str, sync: bool
) -> None:
    orch = await start(job=[EVENT_STREAM, chunk("data: 1\n\n"), HANG])
    gw = Gateway(orch_url=orch.url)

    def use() -> None:
        if how == "break":
            with gw.stream("llm") as stream:
                for _ in stream:
                    break
        elif how == "close":
            stream = gw.stream("llm")
            next(stream)
            stream.close()
            assert list(stream) == []
        else:
            for _ in gw.stream("llm"):
                break

    async def use_async() -> None:
        if how == "break":
            async with gw.stream_async("llm") as stream:
                async for _ in stream:
                    break
        elif how == "close":
            stream = gw.stream_async("llm")
            await anext(stream)
            await stream.aclose()
            assert [event async for event in stream] == []
        else:
            async for _ in gw.stream_async("llm"):
                break

    await (in_thread(use) if sync else use_async())
    gc.collect()
    await asyncio.wait_for(orch.left.wait(), 30)
    await gw.aclose()


@pytest.mark.parametrize("verb", ["stream", "run"])
async def test_a_start_that_its_caller_gives_up_leaves_the_pipeline(
    start: Start, verb: str
) -> None:
    orch = await start(job=[HANG])

    async def use(gw: Gateway) -> None:
        if verb == "run":
            await gw.run_async("llm")
        async with gw.stream_async("llm"):
            raise AssertionError("it has not started")

    async with Gateway(orch_url=orch.url) as gw:
        using = asyncio.create_task(use(gw))
        await asyncio.wait_for(orch.begun.wait(), 30)
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        await asyncio.wait_for(orch.left.wait(), 30)
    assert len(orch.jobs) == 1


async def test_a_reader_that_pauses_holds_the_writer_back(start: Start) -> None:
    piece = chunk("data: " + "x" * 50_000 + "\n\n")
    orch = await start(job=[EVENT_STREAM, *[piece] * 2000, HANG])
    async with Gateway(orch_url=orch.url) as gw, gw.stream_async("llm") as stream:
        await anext(stream)
        before = -1
        while before != orch.bytes_written:  # until nothing more is taken
            before = orch.bytes_written
            await asyncio.sleep(0.2)
        assert 50_000 < before < 50_000_000  # of 100 MB: what sockets and buffers hold
        async for _ in stream:
            if orch.bytes_written > before:
                break
        assert orch.bytes_written > before


async def test_an_error_event_is_raised_after_what_came_before_it(start: Start) -> None:
    failed = 'event: error\ndata: {"error":{"type":"cuda","message":"out of memory"}}\n\n'
    orch = await start(job=events("data: 1\n\ndata: 2\n\n" + failed, DONE))
    gw = Gateway(orch_url=orch.url)
    found = []
    with pytest.raises(PipelineError, match="out of memory") as caught:
        async for event in gw.stream_async("llm"):
            found.append(event.data)  # noqa: PERF401 — what came before the error is the point
    assert found == ["1", "2"] and caught.value.type == "cuda"
    assert caught.value.rejections[0].orchestrator == orch.url

    def use() -> list[str]:
        found = []
        with pytest.raises(PipelineError, match="out of memory"):
            for event in gw.stream("llm"):
                found.append(event.data)  # noqa: PERF401 — as above
        return found

    assert await in_thread(use) == ["1", "2"]
    await gw.aclose()


async def test_the_error_of_a_refused_stream_is_raised_when_it_is_opened(start: Start) -> None:
    orch = await start(job=reply("no\n", 422, "text/plain"))
    gw = Gateway(orch_url=orch.url)
    with pytest.raises(InvalidInputError):
        async with gw.stream_async("llm"):
            pass
    with pytest.raises(InvalidInputError):
        await in_thread(lambda: gw.stream("llm"))
    await gw.aclose()


@pytest.mark.parametrize(
    ("answer", "data"),
    [
        (reply({"a": 1}), '{"a": 1}'),
        (reply("hello", content_type="text/plain"), "hello"),
        (reply(b"\x89PNG", content_type="image/png"), "data:image/png;base64,iVBORw=="),
    ],
)
async def test_a_plain_answer_is_one_event(start: Start, answer: list[Any], data: str) -> None:
    orch = await start(job=answer)
    async with Gateway(orch_url=orch.url) as gw, gw.stream_async("echo") as stream:
        assert [event.data async for event in stream] == [data]


async def test_run_collects_a_stream(start: Start) -> None:
    progress = 'event: progress\ndata: {"progress":0.5}\n\n'
    orch = await start(job=events(progress, 'data: {"i":0}\n\n', "data: text\n\n", DONE))
    async with Gateway(orch_url=orch.url) as gw:
        assert await gw.run_async("llm") == [{"i": 0}, "text"]


async def test_ten_thousand_events_in_one_burst_all_arrive(start: Start) -> None:
    burst = "".join(f"data: {json.dumps({'i': i})}\n\n" for i in range(10_000))
    orch = await start(job=events(burst, DONE))
    gw = Gateway(orch_url=orch.url)
    found = [event.json()["i"] async for event in gw.stream_async("llm")]
    assert found == list(range(10_000))
    assert await in_thread(lambda: len(list(gw.stream("llm")))) == 10_000
    await gw.aclose()
