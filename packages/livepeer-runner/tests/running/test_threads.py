"""Worker threads: order, withdrawal, giving up, and the end; and the buffer fed from one."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import pytest

from livepeer.runner.batch.buffer import EventBuffer, StreamClosed
from livepeer.runner.running.threads import WorkerThreads

LIMIT = 60


async def test_calls_run_in_the_order_in_which_they_came() -> None:
    threads = WorkerThreads(1, "one")
    seen: list[int] = []
    calls = [threads.submit(lambda i=i: seen.append(i)) for i in range(100)]  # type: ignore[misc]
    await asyncio.wait_for(asyncio.gather(*(call.future for call in calls)), LIMIT)
    assert seen == list(range(100))
    threads.close()


async def test_no_more_run_at_once_than_there_are_threads() -> None:
    threads = WorkerThreads(3, "three")
    lock, inside, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.001)
        with lock:
            inside -= 1

    calls = [threads.submit(work) for _ in range(200)]
    await asyncio.wait_for(asyncio.gather(*(call.future for call in calls)), LIMIT)
    assert 1 <= most <= 3
    threads.close()


async def test_a_call_that_has_not_begun_can_be_withdrawn_and_one_that_has_cannot() -> None:
    threads = WorkerThreads(1, "one")
    begun, release = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return release.wait(LIMIT)

    first = threads.submit(work)
    second = threads.submit(lambda: pytest.fail("it was withdrawn"))
    assert await asyncio.to_thread(begun.wait, LIMIT)
    assert threads.withdraw(second) and not threads.withdraw(first)
    assert second.future.cancelled() and threads.queued == 0
    release.set()
    assert await asyncio.wait_for(first.future, LIMIT)
    threads.close()


async def test_an_abandoned_thread_ends_with_its_call_and_another_serves_on() -> None:
    threads = WorkerThreads(1, "one")
    begun, release = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        release.wait(LIMIT)
        return threading.get_ident()

    hung = threads.submit(work)
    assert await asyncio.to_thread(begun.wait, LIMIT)
    waiting = threads.submit(threading.get_ident)
    assert threads.abandon(hung) and not threads.abandon(hung)
    other = await asyncio.wait_for(waiting.future, LIMIT)
    assert threads.abandoned == 1
    release.set()
    gone = await asyncio.wait_for(hung.future, LIMIT)
    assert gone != other
    async with asyncio.timeout(LIMIT):
        while gone in {thread.ident for thread in threading.enumerate()}:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert threads.abandoned == 0
    threads.close()


async def test_closing_ends_idle_threads_and_withdraws_what_waits() -> None:
    before = set(threading.enumerate())
    threads = WorkerThreads(2, "closing")
    await threads.submit(lambda: None).future
    threads.close()
    with pytest.raises(RuntimeError, match="closed"):
        threads.submit(lambda: None)
    async with asyncio.timeout(LIMIT):
        while set(threading.enumerate()) - before:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("high_water", [1, 100, 10_000])
async def test_every_chunk_of_a_thread_arrives_once_and_in_order(high_water: int) -> None:
    buffer = EventBuffer(high_water)
    expected = [b"%d," % i for i in range(3000)]
    pauses = random.Random(7)

    def produce() -> None:
        for chunk in expected:
            if pauses.random() < 0.01:
                time.sleep(0.0005)
            buffer.put_blocking(chunk)
        buffer.end()

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    got = b""
    async with asyncio.timeout(LIMIT):
        while chunk := await buffer.get():
            got += chunk
    assert got == b"".join(expected)
    producer.join(LIMIT)


@pytest.mark.parametrize("ending", ["close", "end"])
async def test_a_producer_that_waits_for_room_is_released_when_the_reader_goes(
    ending: str,
) -> None:
    buffer = EventBuffer(1)
    result: list[str] = []

    def produce() -> None:
        try:
            while True:
                buffer.put_blocking(b"x")
        except StreamClosed:
            result.append("closed")

    async def produce_in_task() -> None:
        other = EventBuffer(1)
        await other.put(b"x")
        waiting = asyncio.create_task(other.put(b"y"))
        await asyncio.sleep(0)
        getattr(other, ending)()
        with pytest.raises(StreamClosed):
            await asyncio.wait_for(waiting, LIMIT)

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    await buffer.get()
    getattr(buffer, ending)()
    await asyncio.to_thread(producer.join, LIMIT)
    assert result == ["closed"]
    await produce_in_task()
