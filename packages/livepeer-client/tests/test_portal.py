"""Coroutines that one thread hands to another: whoever waits is always answered."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import signal
import threading
import weakref
from collections.abc import Iterator

import pytest

from livepeer.client.portal import Portal


@pytest.fixture
def portal() -> Iterator[Portal]:
    made = Portal()
    yield made
    made.close()


def test_ctrl_c_ends_the_wait_and_cancels_what_was_waited_for(portal: Portal) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def interrupt() -> None:
        begun.wait(20)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    pressing = threading.Thread(target=interrupt)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        portal.call(work())
    pressing.join()
    assert ended.wait(20)


def test_many_threads_get_their_own_answer_or_error(portal: Portal) -> None:
    async def work(n: int) -> int:
        await asyncio.sleep(0)
        if n % 2:
            raise ValueError(n)
        return n

    def call(n: int) -> int:
        try:
            return portal.call(work(n))
        except ValueError as error:
            return -int(error.args[0])

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        found = list(threads.map(call, range(100)))
    assert found == [-n if n % 2 else n for n in range(100)]


def test_who_waits_as_the_portal_is_closed_is_told_so(portal: Portal) -> None:
    begun = threading.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(portal.call, work())
        assert begun.wait(20)
        portal.close()
        with pytest.raises(concurrent.futures.CancelledError):
            waiting.result(20)


def test_an_error_holds_nothing_that_holds_it(portal: Portal) -> None:
    class Told(Exception):
        pass

    async def work() -> None:
        raise Told

    gc.disable()
    try:
        with pytest.raises(Told) as caught:
            portal.call(work())
        gone = weakref.ref(caught.value)
        del caught
        portal.call(asyncio.sleep(0))  # the loop has let go of the task before
        assert gone() is None
    finally:
        gc.enable()


async def answer() -> int:
    return 42


def test_what_the_loop_never_came_to_is_cancelled(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert portal.call(answer()) == 42

    def accept(callback: object) -> None:
        """As in the last moment of a loop, which takes it and ends."""
        portal.close()

    loop = portal._started().loop
    monkeypatch.setattr(loop, "call_soon_threadsafe", _Once(loop, accept))
    with pytest.raises(concurrent.futures.CancelledError, match="closed"):
        portal.call(answer())
    assert portal.call(answer()) == 42, "a new thread"


class _Once:
    """In the place of a loop's method for one call."""

    def __init__(self, loop: asyncio.AbstractEventLoop, instead: object) -> None:
        self._real, self._instead = loop.call_soon_threadsafe, instead

    def __call__(self, callback: object, *arguments: object) -> object:
        instead, self._instead = self._instead, self._real
        return instead(callback, *arguments)  # type: ignore[operator]
