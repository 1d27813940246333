"""Streams over real connections: how they begin, end, wait, fail and are left."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from livepeer.runner import Pipeline, errors

Serve = Any
LIMIT = 60


class Token(BaseModel):
    token: str


class Words(Pipeline):
    def predict(self, text: str) -> Iterator[Token]:
        for word in text.split():
            if word == "boom":
                raise RuntimeError("secret")
            if word == "dark":
                raise errors.InvalidInput("too dark", field="text")
            yield Token(token=word)


class AsyncWords(Pipeline):
    async def predict(self, text: str) -> AsyncIterator[Token]:
        for word in text.split():
            if word == "boom":
                raise RuntimeError("secret")
            if word == "dark":
                raise errors.InvalidInput("too dark", field="text")
            yield Token(token=word)


both = pytest.mark.parametrize("cls", [Words, AsyncWords])


@both
async def test_a_stream_is_its_events_and_ends_with_a_bare_done(
    served: Serve, cls: type[Pipeline]
) -> None:
    async with served(cls) as s:
        response = await s.post(text="hello [DONE] world")
        assert response.headers["content-type"] == "text/event-stream"
        assert response.text == (
            'data: {"token":"hello"}\n\ndata: {"token":"\\u005bDONE]"}\n\n'
            'data: {"token":"world"}\n\ndata: [DONE]\n\n'
        )
        assert s.slots_taken == 0


@both
async def test_a_stream_without_an_event_is_just_its_end(
    served: Serve, cls: type[Pipeline]
) -> None:
    async with served(cls) as s:
        response = await s.post(text="")
        assert (response.status_code, response.text) == (200, "data: [DONE]\n\n")


@both
async def test_an_error_in_the_middle_is_an_event_and_done_follows(
    served: Serve, cls: type[Pipeline]
) -> None:
    async with served(cls) as s:
        response = await s.post(text="one boom")
        first, failure, done, rest = response.text.split("\n\n")
        assert (first, done, rest) == ('data: {"token":"one"}', "data: [DONE]", "")
        name, data = failure.split("\n")
        assert name == "event: error"
        assert json.loads(data[6:])["error"]["type"] == "pipeline_error"
        assert "secret" not in response.text
        assert s.slots_taken == 0


@both
async def test_an_error_before_the_first_event_is_an_answer_of_its_own_status(
    served: Serve, cls: type[Pipeline]
) -> None:
    async with served(cls) as s:
        blamed, failed = await s.post(text="dark"), await s.post(text="boom")
        assert (blamed.status_code, failed.status_code) == (422, 500)
        assert blamed.json()["error"]["fields"][0]["name"] == "text"


@both
async def test_accept_json_collects_the_whole(served: Serve, cls: type[Pipeline]) -> None:
    async with served(cls) as s:

        async def collect(text: str) -> Any:
            headers = {"accept": "application/json"}
            return await s.http.post("/predict", json={"text": text}, headers=headers)

        response = await collect("a [DONE] c")
        assert response.json() == [{"token": "a"}, {"token": "[DONE]"}, {"token": "c"}]
        assert (await collect("")).json() == []
        assert (await collect("one boom")).status_code == 500
        assert s.slots_taken == 0


async def test_an_event_of_the_wrong_type_is_an_error_event(served: Serve) -> None:
    class Wrong(Pipeline):
        def predict(self) -> Iterator[int]:
            yield 1
            yield "two"  # type: ignore[misc]

    async with served(Wrong) as s:
        text = (await s.post()).text
        assert text.startswith("data: 1\n\nevent: error\n") and text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("raised", [SystemExit(2), KeyboardInterrupt()])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_generator_that_exits_ends_its_stream_and_not_the_process(
    served: Serve, kind: str, raised: BaseException
) -> None:
    class Exits(Pipeline):
        if kind == "sync":

            def predict(self) -> Iterator[int]:
                yield 1
                raise raised
        else:

            async def predict(self) -> AsyncIterator[int]:
                yield 1
                raise raised

    async with served(Exits) as s:
        text = (await s.post()).text
        assert "event: error" in text and text.endswith("data: [DONE]\n\n")
        assert (await s.http.get("/health")).json()["status"] == "IDLE"


async def test_each_event_comes_when_it_is_made(served: Serve) -> None:
    step = threading.Semaphore(0)

    class Stepped(Pipeline):
        def predict(self) -> Iterator[int]:
            for i in range(3):
                assert step.acquire(timeout=LIMIT)
                yield i

    step.release()
    async with served(Stepped) as s, s.http.stream("POST", "/predict", json={}) as response:
        lines = response.aiter_lines()
        for i in range(3):
            assert await asyncio.wait_for(anext(lines), LIMIT) == f"data: {i}"
            assert await anext(lines) == ""
            step.release()


async def leave_after_first_event(s: Any) -> None:
    async with s.http.stream("POST", "/predict", json={}) as response:
        async for line in response.aiter_lines():
            assert line.startswith("data: 0")
            break


async def test_a_caller_who_leaves_closes_a_sync_generator(served: Serve) -> None:
    closed_in: list[str] = []

    class Endless(Pipeline):
        def predict(self) -> Iterator[int]:
            try:
                i = 0
                while True:
                    yield i
                    i += 1
                    threading.Event().wait(0.005)
            finally:
                closed_in.append(threading.current_thread().name)

    async with served(Endless) as s:
        await leave_after_first_event(s)
        await s.until(lambda: s.slots_taken == 0)
        assert len(closed_in) == 1 and closed_in[0].startswith("endless")
        assert 'outcome="cancelled"} 1.0' in (await s.http.get("/metrics")).text


async def test_a_caller_who_leaves_closes_an_async_generator(served: Serve) -> None:
    closed = asyncio.Event()

    class Endless(Pipeline):
        async def predict(self) -> AsyncIterator[int]:
            try:
                yield 0
                await asyncio.Event().wait()
            finally:
                closed.set()

    async with served(Endless) as s:
        await leave_after_first_event(s)
        await asyncio.wait_for(closed.wait(), LIMIT)
        await s.until(lambda: s.slots_taken == 0)


async def test_the_slot_is_held_until_a_left_generator_has_really_stopped(served: Serve) -> None:
    release = threading.Event()

    class Busy(Pipeline):
        queue_timeout = 0

        def predict(self) -> Iterator[int]:
            yield 0
            assert release.wait(LIMIT)
            yield 1

    async with served(Busy) as s:
        await leave_after_first_event(s)
        await s.until(lambda: 'outcome="cancelled"} 1.0' in s.service.metrics.render().decode())
        assert s.slots_taken == 1
        assert (await s.post()).status_code == 503
        release.set()
        await s.until(lambda: s.slots_taken == 0)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_slow_reader_holds_the_generator_back(served: Serve, kind: str) -> None:
    made = 0

    class Fast(Pipeline):
        if kind == "sync":

            def predict(self) -> Iterator[str]:
                nonlocal made
                for _ in range(2000):
                    made += 1
                    yield "x" * 50_000
        else:

            async def predict(self) -> AsyncIterator[str]:
                nonlocal made
                for _ in range(2000):
                    made += 1
                    yield "x" * 50_000

    async with served(Fast) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port, limit=1)
        writer.write(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        await reader.read(1)
        seen = -1
        while seen != made:
            seen = made
            await asyncio.sleep(0.2)
        assert 0 < made < 1000
        writer.transport.abort()
        await s.until(lambda: s.slots_taken == 0)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_stream_over_its_timeout_ends_with_an_error_and_done(
    served: Serve, kind: str
) -> None:
    release = threading.Event()

    class Slow(Pipeline):
        timeout = 0.3
        if kind == "sync":

            def predict(self) -> Iterator[int]:
                yield 0
                release.wait(LIMIT)
        else:

            async def predict(self) -> AsyncIterator[int]:
                yield 0
                await asyncio.Event().wait()

    async with served(Slow) as s:
        text = (await s.post()).text
        first, failure, done, _ = text.split("\n\n")
        assert (first, done) == ("data: 0", "data: [DONE]")
        assert '"type":"timeout"' in failure
        release.set()
        await s.until(lambda: s.slots_taken == 0)


async def test_a_quiet_stream_has_heartbeats(
    served: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livepeer.runner.batch.stream.HEARTBEAT_SECONDS", 0.05)
    release = threading.Event()

    class Quiet(Pipeline):
        def predict(self) -> Iterator[int]:
            release.wait(LIMIT)
            yield 1

    async with served(Quiet) as s, s.http.stream("POST", "/predict", json={}) as response:
        beats, lines = 0, []
        async for line in response.aiter_lines():
            beats += line.startswith(":")
            lines.append(line)
            if beats == 3:
                release.set()
        assert [line for line in lines if line and not line.startswith(":")] == [
            "data: 1",
            "data: [DONE]",
        ]


async def test_progress_is_an_event_of_its_own_name(served: Serve) -> None:
    class Reports(Pipeline):
        def predict(self) -> Iterator[int]:
            self.progress(0.5, "half")
            yield 1

    async with served(Reports) as s:
        assert (await s.post()).text == (
            'event: progress\ndata: {"progress":0.5,"message":"half"}\n\n'
            "data: 1\n\ndata: [DONE]\n\n"
        )


async def test_a_burst_arrives_whole_and_in_order(served: Serve) -> None:
    class Burst(Pipeline):
        def predict(self, n: int) -> Iterator[int]:
            yield from range(n)

    async with served(Burst) as s:
        text = (await s.post(n=20_000)).text
        assert text == "".join(f"data: {i}\n\n" for i in range(20_000)) + "data: [DONE]\n\n"
        metrics = (await s.http.get("/metrics")).text
        assert "livepeer_events_total 20000.0" in metrics


async def test_the_next_call_finds_the_slot_free_as_soon_as_a_stream_has_ended(
    served: Serve,
) -> None:
    async with served(Words) as s:
        for _ in range(50):
            assert (await s.post(text="a b")).status_code == 200


async def test_a_large_event_comes_in_lines_that_an_orchestrator_can_read(served: Serve) -> None:
    class Large(Pipeline):
        def predict(self) -> Iterator[str]:
            yield "é" * 150_000

    async with served(Large) as s:
        body = (await s.post()).content
        lines = body.split(b"\n")
        assert max(map(len, lines)) <= 65_535
        event = body.removesuffix(b"\n\ndata: [DONE]\n\n")
        assert json.loads(b"".join(line[6:] for line in event.split(b"\n"))) == "é" * 150_000


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux does")
async def test_a_hundred_callers_who_leave_leave_nothing_behind(served: Serve) -> None:
    class Endless(Pipeline):
        capacity = 10
        thread_safe = True

        def predict(self) -> Iterator[int]:
            i = 0
            while True:
                yield i
                i += 1
                threading.Event().wait(0.002)

    def census() -> tuple[int, int, int]:
        return len(asyncio.all_tasks()), threading.active_count(), len(os.listdir("/proc/self/fd"))

    async with served(Endless) as s:

        async def leave_ten() -> None:
            await asyncio.gather(*(leave_after_first_event(s) for _ in range(10)))
            await s.until(lambda: s.slots_taken == 0)

        await leave_ten()
        await s.until(lambda: s.service.threads.queued == 0)
        before = census()
        for _ in range(9):
            await leave_ten()
        await s.until(lambda: all(a <= b for a, b in zip(census(), before, strict=True)))
