"""The queue for slots: in order, for a bounded time, of a bounded length."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from livepeer.runner import Pipeline
from livepeer.runner.errors import NotReady, OverCapacity
from livepeer.runner.running.lifecycle import Lifecycle

Serve = Any
LIMIT = 60


class Gate:
    """Pipelines whose jobs begin at once, and end one by one as they are let."""

    def __init__(self) -> None:
        self.semaphore = threading.Semaphore(0)
        self.begun: list[str] = []

    def pipeline(self, **attributes: Any) -> type[Pipeline]:
        def predict(this: Pipeline, name: str) -> str:
            self.begun.append(name)
            assert self.semaphore.acquire(timeout=LIMIT)
            return name

        predict.__annotations__ = {"name": str, "return": str}
        body = {"predict": predict, "queue_timeout": float(LIMIT), **attributes}
        return type("Gated", (Pipeline,), body)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.semaphore.release(1000)


def metric(s: Any, name: str) -> float:
    text = s.service.metrics.render().decode()
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


async def test_20_callers_at_once_of_a_short_job_at_the_default_capacity_are_all_served(
    served: Serve,
) -> None:
    class Short(Pipeline):
        def predict(self, name: str) -> str:
            return name

    async with served(Short) as s:
        answers = await asyncio.gather(*(s.post(name=str(i)) for i in range(20)))
        assert [answer.json() for answer in answers] == [str(i) for i in range(20)]


async def test_who_came_first_is_served_first(served: Serve, gate: Gate) -> None:
    async with served(gate.pipeline()) as s:
        slots, calls = s.service.lifecycle.slots, []
        for i in range(6):
            calls.append(asyncio.create_task(s.post(name=str(i))))
            await s.until(lambda i=i: slots.taken == 1 and slots.waiting == i)
        gate.semaphore.release(6)
        await asyncio.gather(*calls)
        assert gate.begun == [str(i) for i in range(6)]
        assert metric(s, "livepeer_waiting") == 0
        assert metric(s, "livepeer_wait_seconds_count") == 5


async def test_a_full_queue_refuses_at_once_with_a_wait_in_the_body(
    served: Serve, gate: Gate
) -> None:
    async with served(gate.pipeline(queue_size=2)) as s:
        calls = [asyncio.create_task(s.post(name=str(i))) for i in range(3)]
        await s.until(lambda: s.service.lifecycle.slots.waiting == 2)
        assert metric(s, "livepeer_waiting") == 2
        refused = await s.post(name="one too many")
        error = refused.json()["error"]
        assert (refused.status_code, error["type"]) == (503, "over_capacity")
        assert error["retry_after"] == int(refused.headers["retry-after"]) >= 1
        gate.semaphore.release(3)
        assert {call.status_code for call in await asyncio.gather(*calls)} == {200}


@pytest.mark.parametrize("where", ["class", "environment"])
async def test_after_the_time_of_the_queue_a_call_is_refused(
    served: Serve, gate: Gate, where: str
) -> None:
    times = {"queue_timeout": 0.05}
    of_class, of_settings = (times, {}) if where == "class" else ({}, times)
    async with served(gate.pipeline(**of_class), **of_settings) as s:
        first = asyncio.create_task(s.post(name="first"))
        await s.until(lambda: gate.begun == ["first"])
        refused = await s.post(name="second")
        assert refused.json()["error"]["type"] == "over_capacity"
        assert s.service.lifecycle.slots.waiting == 0
        gate.semaphore.release()
        assert (await first).status_code == 200
    assert gate.begun == ["first"]


@pytest.mark.parametrize("body", [b'{"name": "gone"}', b'{"name": "' + b"x" * 50_000])
async def test_a_caller_that_leaves_frees_its_place(served: Serve, gate: Gate, body: bytes) -> None:
    async with served(gate.pipeline()) as s:
        first = asyncio.create_task(s.post(name="first"))
        await s.until(lambda: gate.begun == ["first"])
        _, writer = await asyncio.open_connection("127.0.0.1", s.port)
        length = len(body) if body.endswith(b"}") else 10_000_000
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        slots = s.service.lifecycle.slots
        if body.endswith(b"}"):
            await s.until(lambda: slots.waiting == 1)
        writer.close()
        await writer.wait_closed()
        await s.until(lambda: slots.waiting == 0)
        gate.semaphore.release()
        assert (await first).json() == "first"
        await s.until(lambda: slots.taken == 0)
    assert gate.begun == ["first"]


async def test_a_stop_tells_those_who_wait_that_they_were_not_run(
    served: Serve, gate: Gate
) -> None:
    async with served(gate.pipeline()) as s:
        first = asyncio.create_task(s.post(name="first"))
        await s.until(lambda: gate.begun == ["first"])
        waiting = asyncio.create_task(s.post(name="second"))
        await s.until(lambda: s.service.lifecycle.slots.waiting == 1)
        s.service.lifecycle.drain()
        answer = await waiting
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "not_ready")
        gate.semaphore.release()
        assert (await first).status_code == 200
    assert gate.begun == ["first"]


async def test_a_stream_waits_for_its_slot_too(served: Serve, gate: Gate) -> None:
    class Spells(Pipeline):
        def predict(self, name: str) -> Iterator[str]:
            assert gate.semaphore.acquire(timeout=LIMIT)
            yield name

    async with served(Spells) as s:
        calls = [asyncio.create_task(s.post(name=str(i))) for i in range(2)]
        await s.until(lambda: s.service.lifecycle.slots.waiting == 1)
        gate.semaphore.release(2)
        answers: list[httpx.Response] = await asyncio.gather(*calls)
        assert [answer.text for answer in answers] == [
            f'data: "{i}"\n\ndata: [DONE]\n\n' for i in range(2)
        ]


async def test_a_slot_that_came_to_who_just_left_goes_on_to_the_next() -> None:
    lifecycle = Lifecycle(1, queue_size=2)
    lifecycle.loaded()
    slot = lifecycle.acquire()
    first, second = lifecycle.queue(), lifecycle.queue()
    with pytest.raises(OverCapacity):
        lifecycle.queue()
    slot.release()
    assert first.done() and not second.done()
    lifecycle.slots.leave(first)
    assert second.done() and lifecycle.slots.taken == 1
    second.result().release()
    assert lifecycle.slots.taken == 0 and lifecycle.idle


async def test_the_wait_that_is_told_grows_with_the_queue() -> None:
    lifecycle = Lifecycle(1, queue_size=10)
    lifecycle.loaded()
    slots = lifecycle.slots
    slots._seconds = 2.0
    slot = lifecycle.acquire()
    assert slots.retry_after() == 2.0
    turns = [lifecycle.queue() for _ in range(3)]
    assert slots.retry_after() == 8.0
    lifecycle.drain()
    for turn in turns:
        assert isinstance(turn.exception(), NotReady)
    slot.release()
