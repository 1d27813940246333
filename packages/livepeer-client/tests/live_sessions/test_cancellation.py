"""A live session that is cancelled, wherever it is: who was asked to start it is told to stop."""

from __future__ import annotations

import asyncio
import json
import threading
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from livepeer.client import ConnectionFailedError, Gateway, LivepeerError
from livepeer.client.http import farewells
from livepeer.client.testing import CUT, HANG, ScriptedOrchestrator, reply

from .scripts import answers, asked

Start = Callable[..., Any]


async def until(condition: Callable[[], object]) -> None:
    # A server's list of requests is no event.
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def stopped_ids(server: ScriptedOrchestrator) -> list[str]:
    return [json.loads(each.job["request"])["stream_id"] for each in asked(server, "stop")]


async def test_a_start_that_its_caller_gives_up_is_stopped_in_the_background(start: Start) -> None:
    orch = await start(other=answers(start=[HANG]))
    async with Gateway(orch_url=orch.url) as gw:

        async def use() -> None:
            async with gw.live("tint"):
                raise AssertionError("it has not started")

        using = asyncio.create_task(use())
        await until(lambda: asked(orch, "start"))
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        await until(lambda: asked(orch, "stop"))
    assert stopped_ids(orch) == [asked(orch, "start")[0].job["id"]]


async def test_by_a_gateway_it_is_stopped_too(start: Start) -> None:
    gateway = await start(other=answers(start=[HANG], stop=reply("{}")))
    async with Gateway(gateway_url=gateway.url) as gw:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0), gw.live("tint"):
                raise AssertionError("it has not started")
        await until(lambda: asked(gateway, "stop"))
    assert [each.path for each in asked(gateway, "stop")] == [
        f"/process/stream/{json.loads(asked(gateway, 'start')[0].body)['stream_id']}/stop"
    ]


@pytest.mark.parametrize("closed", [True, False], ids=["gateway closed", "loop closed"])
async def test_the_end_of_the_loop_or_of_the_gateway_waits_for_the_stop(
    start: Start, closed: bool
) -> None:
    orch = await start(other=answers(start=[HANG]))
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def program() -> None:
        gw = Gateway(orch_url=orch.url)
        live = gw.live("tint")
        using = asyncio.create_task(live.__aenter__())
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(begun.wait(), loop))
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        if closed:
            await gw.aclose()

    running = asyncio.create_task(asyncio.to_thread(asyncio.run, program()))
    await until(lambda: asked(orch, "start"))
    begun.set()
    await asyncio.wait_for(running, 30)
    stopped = stopped_ids(orch)
    assert set(stopped) == {asked(orch, "start")[0].job["id"]}
    # `asyncio.run` cancels every task at its end, also a stop that was sent and waits for its
    # answer: it is said again, as nobody can tell whether it arrived. A closed gateway waits.
    assert len(stopped) <= (1 if closed else 2)


async def test_a_stop_that_is_not_answered_holds_nobody_up_for_long(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farewells, "LAST_CALL", 0.1)
    orch = await start(other=answers(start=[HANG], stop=[HANG]))
    async with Gateway(orch_url=orch.url) as gw:
        using = asyncio.create_task(gw.live("tint").__aenter__())
        await until(lambda: asked(orch, "start"))
        using.cancel()
        await asyncio.wait((using,))
        await until(lambda: asked(orch, "stop"))
        async with asyncio.timeout(5):
            await gw.aclose()
    await asyncio.wait_for(orch.left.wait(), 30)


@pytest.mark.parametrize(
    ("answer", "stops"), [(reply("boom", 500), 1), ([CUT], 1), (reply("x", 503), 0)]
)
async def test_only_a_start_that_was_refused_is_not_stopped(
    start: Start, answer: list[Any], stops: int
) -> None:
    orch = await start(other=answers(start=answer))
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(Exception, match=r"tint|connection"):
            await gw.live("tint").__aenter__()
    assert len(asked(orch, "stop")) == stops


async def test_whoever_was_asked_is_told_and_nobody_who_refused(start: Start) -> None:
    full = await start(other=answers(start=reply("full\n", 503, "text/plain")), capacity=9)
    cut = await start(other=answers(start=[CUT]))
    async with Gateway(orch_url=[full.url, cut.url]) as gw:
        with pytest.raises(ConnectionFailedError):
            await gw.live("tint").__aenter__()
    assert (len(asked(full, "stop")), len(asked(cut, "stop"))) == (0, 1)


@types.coroutine
def cancelled_at(
    work: Coroutine[Any, Any, None], wanted: set[int], waits: list[object]
) -> Generator[Any, Any, None]:
    """Run `work`, and cancel it at each of its waits that is `wanted`. `waits` gets all."""
    task = asyncio.current_task()
    assert task is not None
    step = partial(work.send, None)
    while True:
        try:
            waiting = step()
        except StopIteration:
            return
        waits.append(waiting)
        if len(waits) in wanted:
            task.cancel()
        try:
            yield waiting
            step = partial(work.send, None)
        except BaseException as error:  # noqa: BLE001 — all of it goes on to `work`
            step = partial(work.throw, error)


def ours(task: asyncio.Task[Any]) -> bool:
    """Is it a task of the client or of the transport, and none of the scripted server's?"""
    place: str = getattr(task.get_coro(), "cr_code").co_filename  # noqa: B009 — of coroutines
    return "livepeer" in place and "/src/" in place and not place.endswith("/testing.py")


@pytest.fixture
def busy_threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that are all at work, so that whatever is given to them waits."""
    over = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(over.wait)
        yield threads
        over.set()


@pytest.mark.parametrize("again", [0, 1, 2], ids=["once", "and at the next", "and at the second"])
@pytest.mark.parametrize("busy", [False, True], ids=["", "while its modules are imported"])
async def test_cancelled_at_any_await_a_session_leaves_no_stream_and_no_task(
    start: Start, again: int, busy: bool, busy_threads: ThreadPoolExecutor
) -> None:
    if busy:
        asyncio.get_running_loop().set_default_executor(busy_threads)
    orch = await start(other=answers())

    async def use(gw: Gateway) -> None:
        async with gw.live("tint") as session:
            session.publish_segments([b"x" * 188])
            await asyncio.sleep(0)
            async for _ in session.data():
                break
            await session.update({"u": 1})

    async def run(gw: Gateway, wanted: int, waits: list[object]) -> None:
        await cancelled_at(use(gw), {wanted, wanted + again}, waits)

    before = asyncio.all_tasks()
    for wanted in range(1, 200):
        starts, stops = len(asked(orch, "start")), len(stopped_ids(orch))
        waits: list[object] = []
        async with Gateway(orch_url=orch.url) as gw:
            running = asyncio.create_task(run(gw, wanted, waits))
            await asyncio.wait((running,), timeout=20)
            assert running.done(), wanted
            assert running.cancelled() or isinstance(running.exception(), LivepeerError)
        started = [each.job["id"] for each in asked(orch, "start")[starts:]]
        stopped = stopped_ids(orch)[stops:]
        # A start that is given up while it connects did not arrive: nobody here can tell.
        assert stopped == started or (not started and len(stopped) == 1), f"at wait {wanted}"
        left = {repr(task) for task in asyncio.all_tasks() - before if ours(task)}
        assert not left, f"at wait {wanted}: {left}"
        if len(waits) < wanted:
            break
    assert 8 < wanted < 199
