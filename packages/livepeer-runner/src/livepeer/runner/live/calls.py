"""How an author's hook is called: in its turn, off the loop where it is sync, within a limit."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from livepeer.runner.live.hooks import is_async
from livepeer.runner.live.running import Running, RunningHooks
from livepeer.runner.running.execution import guarded, retrieve
from livepeer.runner.running.threads import ThreadCall, WorkerThreads
from livepeer.trickle.media import AudioFrame, VideoFrame

T = TypeVar("T")

CANCEL_SECONDS = 1.0
"""What an async hook that was cancelled gets for its `finally`; then it is left behind."""


class HookHung(Exception):
    """A hook ran longer than the class's `hook_timeout`; a sync one's thread is given up."""


class HookCaller:
    """Calls hooks of one stream, one at a time: async ones on the loop, sync ones in a thread."""

    def __init__(self, threads: WorkerThreads, limit: float, running: RunningHooks) -> None:
        self._threads = threads
        self._limit = limit
        self.turn = asyncio.Lock()
        """Held while a hook runs."""
        self.running = running

    async def call(
        self,
        hook: Callable[..., Any] | None,
        *arguments: Any,
        name: str = "",
        before: Callable[[], None] | None = None,
    ) -> list[Any]:
        """What it returns, None left out, an iterable as its elements.

        `name` is what it is called, where a decorator may hide that. `before` is called in the same
        turn, also where there is no hook. Raises `HookHung`, and whatever the hook raises.
        """
        async with self.turn:
            if before is not None:
                before()
            if hook is None:
                return []
            with self.running.call(name or _name(hook)) as running:
                if is_async(hook):
                    return await self._on_loop(_collected(hook(*arguments)), running)
                result = await self._in_thread(
                    lambda: _listed_unless_async(hook(*arguments)), running
                )
                if not isinstance(result, list):  # sync by its look: a decorator over an async hook
                    return await self._on_loop(_collected(result), running)
                return result

    async def in_thread(self, work: Callable[[], Any], name: str) -> Any:
        """Run `work` of the hook `name` in a worker thread, in its turn."""
        async with self.turn:
            with self.running.call(name) as running:
                return await self._in_thread(work, running)

    async def on_loop(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Run `work` of the hook `name` on the loop, in its turn."""
        async with self.turn:
            with self.running.call(name) as running:
                return await self._on_loop(work, running)

    async def _on_loop(self, work: Coroutine[Any, Any, T], running: Running) -> T:
        """In a task of its own: a hook that resists its cancellation must not hold us up."""
        task = asyncio.create_task(guarded(work), name=running.name)
        try:
            await asyncio.wait((task,), timeout=self._limit)
            if not task.done():
                raise self._hung(running)
        finally:
            if not task.done():
                await let_go(task)
        if task.cancelled():
            raise RuntimeError(f"{running.name} was cancelled from within")
        result: T = task.result()
        return result

    async def _in_thread(self, work: Callable[[], Any], running: Running) -> Any:
        """Only the time that it runs counts, not that it waits for other streams."""
        started: list[float] = []

        def timed() -> Any:
            started.append(time.monotonic())
            running.waits = False
            return work()

        running.waits = True
        call = self._threads.submit(timed)
        try:
            while not call.future.done():
                left = self._limit
                if started:
                    left -= time.monotonic() - started[0]
                    if left <= 0:
                        raise self._hung(running)
                await asyncio.wait((call.future,), timeout=left)
        finally:
            if not call.future.done():
                self._give_up(call)
        return call.future.result()

    def _give_up(self, call: ThreadCall) -> None:
        """A call that has begun can't be stopped: its thread ends with it, another takes over."""
        if not self._threads.withdraw(call):
            self._threads.abandon(call)
            call.future.add_done_callback(retrieve)

    def _hung(self, running: Running) -> HookHung:
        return HookHung(f"{running.name} took longer than hook_timeout ({self._limit:g} s)")


async def let_go(task: asyncio.Future[Any]) -> None:
    """Cancel it and wait for it a moment, not longer."""
    task.cancel()
    await asyncio.wait((task,), timeout=CANCEL_SECONDS)
    task.add_done_callback(retrieve)


def listed(result: Any) -> list[Any]:
    """What a hook returned as a list of frames. Runs in the hook's thread, as a generator has to.

    A frame itself has no elements; neither has what is no frame, which is told of later. Frames
    are taken as they are now: they are encoded while the author's next hook runs, which may write
    into the same ones.
    """
    if result is None:
        return []
    # An array or tensor has elements, but they are no frames.
    single = isinstance(result, str | bytes | dict) or hasattr(result, "__array__")
    if isinstance(result, Iterable) and not single:
        return [as_it_is(one) for one in result if one is not None]
    return [as_it_is(result)]


def as_it_is(value: Any) -> Any:
    """A frame that stays what it is now, whatever is written into this one."""
    return value.snapshot() if isinstance(value, VideoFrame | AudioFrame) else value


def _listed_unless_async(result: Any) -> Any:
    if inspect.isawaitable(result) or isinstance(result, AsyncIterator):
        return result
    return listed(result)


async def _collected(result: Any) -> list[Any]:
    if inspect.isawaitable(result):
        result = await result
    if isinstance(result, AsyncIterator):
        return [as_it_is(one) async for one in result if one is not None]
    return listed(result)


def _name(hook: Callable[..., Any]) -> str:
    return str(getattr(hook, "__name__", "a hook"))
