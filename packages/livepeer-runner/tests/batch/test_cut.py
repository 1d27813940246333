"""What a stop does to the calls that are there: a job that began is never called `not_ready`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from livepeer.runner import Pipeline
from livepeer.runner.batch.buffer import EventBuffer
from livepeer.runner.batch.cut import Cuts
from livepeer.runner.batch.stream import EventSource, stream
from livepeer.runner.errors import PipelineError
from livepeer.runner.http.sse import data_event

Serve = Any
LIMIT = 60


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Lets the sync jobs of a test end, at its end at the latest."""
    event = threading.Event()
    yield event
    event.set()


async def test_of_two_sync_jobs_the_one_that_began_is_interrupted_the_other_was_not_run(
    served: Serve, gate: threading.Event
) -> None:
    begun = []

    class Slow(Pipeline):
        capacity = 2  # and one thread: the second job waits for it

        def predict(self, name: str) -> str:
            begun.append(name)
            gate.wait(LIMIT)
            return name

    async with served(Slow) as s:
        first = asyncio.create_task(s.post(name="first"))
        await s.until(lambda: begun == ["first"])
        second = asyncio.create_task(s.post(name="second"))
        await s.until(lambda: s.slots_taken == 2)
        s.service.lifecycle.drain()
        await s.service.work.cut()
        told = [(r.status_code, r.json()["error"]["type"]) for r in (await first, await second)]
        assert told == [(409, "interrupted"), (503, "not_ready")]
        gate.set()
    assert begun == ["first"]


class Counts(Pipeline):
    async def predict(self) -> AsyncIterator[int]:
        yield 0
        await asyncio.Event().wait()


async def test_a_stream_of_which_events_have_left_ends_with_interrupted(served: Serve) -> None:
    async with served(Counts) as s, s.http.stream("POST", "/predict", json={}) as response:
        lines = response.aiter_lines()
        assert await anext(lines) == "data: 0"
        await s.service.work.cut()
        rest = [line async for line in lines if line]
        assert rest[0] == "event: error" and '"type":"interrupted"' in rest[1]
        assert rest[2:] == ["data: [DONE]"]
        await s.until(lambda: s.slots_taken == 0)


async def test_a_stream_that_is_collected_has_the_status_of_its_interruption(served: Serve) -> None:
    async with served(Counts) as s:
        asked = s.http.post("/predict", json={}, headers={"accept": "application/json"})
        call = asyncio.create_task(asked)
        await s.until(lambda: s.slots_taken == 1)
        await s.service.work.cut()
        answer = await call
        assert (answer.status_code, answer.json()["error"]["type"]) == (409, "interrupted")
        await s.until(lambda: s.slots_taken == 0)


async def test_in_predict_batch_those_of_the_running_batch_began_and_the_others_did_not(
    served: Serve, gate: threading.Event
) -> None:
    begun: list[int] = []

    class Gathers(Pipeline):
        capacity = 2
        max_batch_size = 1

        def predict_batch(self, inputs: list[int]) -> list[int]:
            begun.extend(inputs)
            gate.wait(LIMIT)
            return inputs

    async with served(Gathers) as s:
        first = asyncio.create_task(s.post(input=1))
        await s.until(lambda: begun == [1])
        second = asyncio.create_task(s.post(input=2))
        await s.until(lambda: s.slots_taken == 2)
        s.service.lifecycle.drain()
        await s.service.work.cut()
        told = [(r.status_code, r.json()["error"]["type"]) for r in (await first, await second)]
        assert told == [(409, "interrupted"), (503, "not_ready")]
        gate.set()


class Running:
    """An execution that is over when it is stopped."""

    begun = True

    def __init__(self) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def stop(self) -> None:
        self.future.cancel()

    def overrun(self) -> None:
        self.stop()


async def never() -> Any:
    await asyncio.Event().wait()


async def test_a_stream_that_is_cancelled_after_its_first_byte_is_cancelled() -> None:
    """Not answered with a reason that is none, and not run on as if nothing had been."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def serve() -> None:
        buffer = EventBuffer()
        buffer.insert(data_event(b"1"))
        async with EventSource(Running(), buffer, None, never, Cuts()) as source:
            await stream(source, send, on_error=lambda error: PipelineError(str(error)))

    task = asyncio.create_task(serve())
    async with asyncio.timeout(LIMIT):
        while len(sent) < 2:  # noqa: ASYNC110 — there is no event for it
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [message.get("body") for message in sent] == [None, data_event(b"1")]


async def test_a_cancellation_that_meets_the_cut_is_a_cancellation() -> None:
    cuts = Cuts()
    entered = asyncio.Event()

    async def wait() -> None:
        async with cuts.place(lambda: PipelineError("cut")):
            entered.set()
            await asyncio.Event().wait()

    cut, cancelled, both = [asyncio.create_task(wait()) for _ in range(3)]
    await entered.wait()
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait({cancelled})
    both.cancel()
    cuts.make()
    await asyncio.wait({cut, both})
    assert cancelled.cancelled() and both.cancelled()
    assert isinstance(cut.exception(), PipelineError)
    with pytest.raises(PipelineError):
        await wait()
