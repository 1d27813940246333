"""A live session that is cancelled, wherever it is: who was asked to start it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from livepeer.client import ConnectionFailedError, Gateway, LivepeerError, SessionEndedError
from livepeer.client.http import farewells
from livepeer.client.live.channels import Control, records_by_gateway
from livepeer.client.live.ending import Ending
from livepeer.client.testing import CUT, HANG, ScriptedOrchestrator, reply
from livepeer.trickle import ChannelClosed, Transport, TrickleServer
from livepeer.trickle.testing import FaultProxy

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


@pytest.fixture
async def busy_threads() -> AsyncIterator[ThreadPoolExecutor]:
    """Threads that are all at work, so that whatever is given to them waits; until before the end
    of the loop, which waits for them."""
    over = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(over.wait)
        yield threads
        over.set()


@pytest.mark.parametrize("again", [0, 1, 2], ids=["once", "and at the next", "and at the second"])
@pytest.mark.parametrize("busy", [False, True], ids=["", "while its modules are imported"])
async def test_cancelled_at_any_await_a_session_leaves_no_stream_and_nothing_here(
    elsewhere: Callable[..., ScriptedOrchestrator],
    cancelled_at_each_wait: Callable[..., Any],
    again: int,
    busy: bool,
    busy_threads: ThreadPoolExecutor,
) -> None:
    if busy:
        asyncio.get_running_loop().set_default_executor(busy_threads)
    orch = elsewhere(ScriptedOrchestrator(other=answers()))

    async def use() -> None:
        with contextlib.suppress(SessionEndedError):  # it has no channels
            async with Gateway(orch_url=orch.url) as gw, gw.live("tint") as session:
                session.publish_segments([b"x" * 188])
                await asyncio.sleep(0)
                async for _ in session.data():
                    break
                await session.update({"u": 1})

    def told(where: str) -> None:
        started = [each.job["id"] for each in asked(orch, "start")]
        stopped = stopped_ids(orch)
        orch.others.clear()
        # A start that is given up while it connects did not arrive: nobody here can tell.
        assert stopped == started or (not started and len(stopped) <= 1), where

    waits = await cancelled_at_each_wait(use, again=again, allowed=(LivepeerError,), after=told)
    assert 8 < waits < 199


async def test_a_message_that_is_on_its_way_holds_the_end_of_a_session_up_for_nobody() -> None:
    """Who sends it is no task of the session's, and has its connections until it is done."""
    async with TrickleServer(autocreate=False) as server, FaultProxy(server.url) as proxy:
        server.create("control", "application/json")
        control = Control(proxy.rewrite(server.channel_url("control")), True, Ending("tint"))
        await control.say({"n": 1}, raw=True)
        proxy.stall()
        sending = asyncio.create_task(control.say({"n": 2}, raw=True))
        await asyncio.sleep(0)
        closing = asyncio.create_task(control.aclose())
        await asyncio.sleep(0)
        closing.cancel()  # at its limit
        await asyncio.wait((closing,))
        await asyncio.wait((sending,), timeout=30)
        assert sending.done() and sending.exception() is not None
        with pytest.raises(ChannelClosed):
            await control.say({"n": 3}, raw=True)
        transport = Transport.lease(None)
        assert transport.connections == 0
        await Transport.release(transport)


async def test_an_answer_that_comes_as_its_reader_is_cancelled_is_closed() -> None:
    class Answer:
        closed = False

        def abort(self) -> None:
            self.closed = True

    answer: Any = Answer()
    coming: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    records = records_by_gateway(lambda: coming, Ending("tint"))
    reading = asyncio.create_task(anext(records))
    await asyncio.sleep(0)
    coming.set_result(answer)
    reading.cancel()
    await asyncio.wait((reading,))
    assert reading.cancelled() and answer.closed
