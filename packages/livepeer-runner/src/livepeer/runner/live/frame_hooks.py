"""The two hooks that are not one call for one frame of one stream: `generate` and a batch's."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from livepeer.runner.author.live_pipeline import BatchItem
from livepeer.runner.errors import JobTimeout
from livepeer.runner.live.hooks import HookCaller, HookHung, let_go
from livepeer.runner.live.stream import Stream
from livepeer.runner.running.gather import Gatherer

logger = logging.getLogger(__name__)

FrameHook = Callable[[Any], Awaitable[list[Any]]]
"""Gives the frames that a hook made of one frame. Raises `HookHung`, and what the hook raises."""

END = object()
NAME = "generate"


def batched(batches: Gatherer, stream: Stream) -> FrameHook:
    """`process_video_batch`, as one stream calls it: its frame waits for others, and returns."""

    async def call(frame: Any) -> list[Any]:
        item = BatchItem(frame, stream.copy.params, stream.request.stream_id)
        entry = batches.submit(item)
        try:
            with stream.status.running.call("process_video_batch"):
                made: list[Any] = await entry.future
        except JobTimeout as error:
            raise HookHung("process_video_batch took longer than hook_timeout") from error
        finally:
            if not entry.future.done():
                entry.stop()
        return made

    return call


class Generated:
    """The frames of `generate`, one by one, until there are no more or the stream is stopped.

    A sync generator makes each frame in a thread, in the stream's turn, within `hook_timeout`. An
    async one may wait without limit; the stop cancels what it waits for.
    """

    def __init__(
        self, hook: Callable[[], Any], caller: HookCaller, stopping: asyncio.Future[None]
    ) -> None:
        self._hook = hook
        self._caller = caller
        self._stopping = stopping
        self._made: Any = None
        self._stuck = False

    async def next(self) -> Any:
        """The next frame, or `END`. Raises `HookHung`, and what the hook raises."""
        if self._stopping.done():
            return END
        if self._made is None:
            self._made = await self._begin()
        if isinstance(self._made, AsyncIterator):
            return await until(self._stopping, anext(self._made, END))
        try:
            return await self._caller.in_thread(lambda: next(self._made, END), NAME)
        except (HookHung, asyncio.CancelledError):
            self._stuck = True
            raise

    async def _begin(self) -> AsyncIterator[Any] | Iterator[Any]:
        made = self._hook()
        if inspect.isawaitable(made):
            made = await self._caller.on_loop(_awaited(made), NAME)
        return made if isinstance(made, AsyncIterator) else iter(made)

    async def aclose(self) -> None:
        """Close the generator, so that its `finally` runs; one that hangs is left behind."""
        made, self._made = self._made, None
        try:
            if isinstance(made, AsyncIterator) and hasattr(made, "aclose"):
                await self._caller.on_loop(_awaited(made.aclose()), NAME)
            elif hasattr(made, "close") and not self._stuck:
                await self._caller.in_thread(made.close, NAME)
        except (Exception, HookHung):
            logger.exception("closing generate() failed")


async def until(stopping: asyncio.Future[None], work: Any) -> Any:
    """The result of `work`, or `END` if the stop comes first."""
    taking = asyncio.ensure_future(work)
    try:
        await asyncio.wait((taking, stopping), return_when=asyncio.FIRST_COMPLETED)
        return taking.result() if taking.done() else END
    finally:
        if not taking.done():
            await let_go(taking)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
