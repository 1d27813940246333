"""An author's hooks: which a class has, how they are called, and which of them run now."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from livepeer.runner.author.definition import (
    HOOK_ARGUMENTS,
    LIVE_HOOKS,
    check_arguments,
    check_hooks,
    check_live,
)
from livepeer.runner.author.live_pipeline import LivePipeline
from livepeer.runner.exceptions import SignatureError
from livepeer.runner.running.execution import guarded, retrieve
from livepeer.runner.running.threads import ThreadCall, WorkerThreads
from livepeer.trickle.media import AudioFrame, VideoFrame

T = TypeVar("T")

CANCEL_SECONDS = 1.0
"""How long an async hook that was cancelled may take for its `finally`; then it is left behind."""
SLOW_SECONDS = 1.0
"""A hook that has run for this long is told of."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Which hooks a class has."""

    names: frozenset[str]

    @classmethod
    def of(cls, pipeline: type[LivePipeline]) -> Hooks:
        """Look them up. Raises `SignatureError` for one that can never be called as written."""
        found = set()
        for name in LIVE_HOOKS:
            hook = getattr(pipeline, name, None)
            if hook is None:
                continue
            check_arguments(pipeline, name, HOOK_ARGUMENTS[name])
            found.add(name)
        if {"process_video", "process_video_batch"} <= found:
            raise SignatureError(
                f"{pipeline.__name__} has process_video and process_video_batch: keep one of them"
            )
        check_arguments(pipeline, "warm_up", ())
        check_hooks(pipeline, (*LIVE_HOOKS, "warm_up"))
        check_live(pipeline)
        return cls(frozenset(found))

    def __contains__(self, name: str) -> bool:
        return name in self.names

    @property
    def video(self) -> bool:
        return "process_video" in self or "process_video_batch" in self

    @property
    def audio(self) -> bool:
        return "process_audio" in self

    @property
    def generates(self) -> bool:
        return "generate" in self

    @property
    def relays(self) -> bool:
        """Whether no hook makes frames: input may go to output as it is, byte for byte."""
        return not (self.video or self.audio or self.generates)


def is_async(hook: Any) -> bool:
    """Whether a hook is written `async def`, with `yield` or without."""
    return inspect.iscoroutinefunction(hook) or inspect.isasyncgenfunction(hook)


@dataclass(slots=True, eq=False)
class HookRun:
    """One call of a hook that has not returned yet."""

    name: str
    asked: float = field(default_factory=time.monotonic)
    waits: bool = False
    """Whether it waits for a thread, because other streams' hooks have them all."""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.asked


class HookRuns:
    """The hooks of one stream that run now: at most one, and a batch beside it."""

    def __init__(self) -> None:
        self._all: list[HookRun] = []
        self._warned: HookRun | None = None

    @contextmanager
    def call(self, name: str) -> Iterator[HookRun]:
        running = HookRun(name)
        self._all.append(running)
        try:
            yield running
        finally:
            self._all.remove(running)

    @property
    def slow(self) -> HookRun | None:
        """The one that has run longest; None if that is under `SLOW_SECONDS`."""
        oldest = min(self._all, key=lambda one: one.asked, default=None)
        return oldest if oldest is not None and oldest.seconds >= SLOW_SECONDS else None

    def news(self) -> HookRun | None:
        """`slow`, once for each call."""
        slow = self.slow
        if slow is None or slow is self._warned:
            return None
        self._warned = slow
        return slow

    def shown(self) -> dict[str, Any] | None:
        """`slow` as a status event has it; `since` is in seconds since 1970."""
        if (slow := self.slow) is None:
            return None
        return {
            "name": slow.name,
            "since": time.time() - slow.seconds,
            "seconds": round(slow.seconds, 1),
            "waits_for_thread": slow.waits,
        }


class HookHung(Exception):
    """A hook ran longer than the class's `hook_timeout`; a sync one's thread is given up."""


class HookCaller:
    """Calls hooks of one stream, one at a time: async ones on the loop, sync ones in a thread."""

    def __init__(self, threads: WorkerThreads, limit: float, running: HookRuns) -> None:
        self._threads = threads
        self.limit = limit
        """Seconds that one call may run: the class's `hook_timeout`."""
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
        """The frames that a hook returns: none for None, an iterable's elements.

        `name` is the hook's name, which a decorator may hide. `before` is called in the same turn,
        even if `hook` is None. Raises `HookHung`, and what the hook raises.
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
                    lambda: listed_unless_async(hook(*arguments)), running
                )
                if not isinstance(result, list):  # sync by its look: a decorator over an async hook
                    return await self._on_loop(_collected(result), running)
                return result

    async def in_thread(self, work: Callable[[], Any], name: str) -> Any:
        """Run `work` of the hook `name` in a worker thread, in its turn."""
        async with self.turn:
            with self.running.call(name) as running:
                return await self._in_thread(work, running)

    async def collected(self, result: Any, name: str) -> list[Any]:
        """The frames of what a hook returned that has to be awaited."""
        return await self.on_loop(_collected(result), name)

    async def on_loop(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Run `work` of the hook `name` on the loop, in its turn."""
        async with self.turn:
            with self.running.call(name) as running:
                return await self._on_loop(work, running)

    async def _on_loop(self, work: Coroutine[Any, Any, T], running: HookRun) -> T:
        """In a task of its own: a hook that resists its cancellation does not hold us up."""
        task = asyncio.create_task(guarded(work), name=running.name)
        try:
            await asyncio.wait((task,), timeout=self.limit)
            if not task.done():
                raise self._hung(running)
        finally:
            if not task.done():
                await let_go(task)
        if task.cancelled():
            raise RuntimeError(f"{running.name} was cancelled from within")
        result: T = task.result()
        return result

    async def _in_thread(self, work: Callable[[], Any], running: HookRun) -> Any:
        """The limit counts only the time that `work` runs, not the wait for a thread."""
        started: list[float] = []

        def timed() -> Any:
            started.append(time.monotonic())
            running.waits = False
            return work()

        running.waits = True
        call = self._threads.submit(timed)
        try:
            while not call.future.done():
                left = self.limit
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

    def _hung(self, running: HookRun) -> HookHung:
        return HookHung(f"{running.name} took longer than hook_timeout ({self.limit:g} s)")


async def let_go(task: asyncio.Future[Any]) -> None:
    """Cancel it and wait for it a moment, not longer."""
    task.cancel()
    await asyncio.wait((task,), timeout=CANCEL_SECONDS)
    task.add_done_callback(retrieve)


def listed(result: Any) -> list[Any]:
    """What a hook returned, as a list. Runs in the hook's thread, as a generator has to.

    What is no frame is an element too, and is refused later. Frames are taken as they are now: they
    are encoded while the author's next hook runs, which may write into the same ones.
    """
    if result is None:
        return []
    # An array or tensor has elements, but they are no frames.
    single = isinstance(result, str | bytes | dict) or hasattr(result, "__array__")
    if isinstance(result, Iterable) and not single:
        return [as_it_is(one) for one in result if one is not None]
    return [as_it_is(result)]


def as_it_is(value: Any) -> Any:
    """A snapshot of a frame, which later writes into it do not change."""
    return value.snapshot() if isinstance(value, VideoFrame | AudioFrame) else value


def listed_unless_async(result: Any) -> Any:
    """`listed`, unless it has to be awaited: of a decorator over an async hook."""
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
