"""One stream, from `stream/start` to the moment that nothing of it is left."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Any

from livepeer.runner.job import Job, current_job
from livepeer.runner.live.control import CallerWatch, ControlMessages, ParamUpdates, listen
from livepeer.runner.live.failures import StreamFailed, error_event
from livepeer.runner.live.hooks import HookHung, Hooks
from livepeer.runner.live.outbox import CLOSE_SECONDS
from livepeer.runner.live.request import label
from livepeer.runner.live.status import StatusReports, StreamFigures
from livepeer.runner.live.stream import FlowProtocol, Stream
from livepeer.runner.running.slots import Slot

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""What a flow gets to finish the frame in hand and to bring the last one out."""


class Session:
    """Owns the stream's task, its channels, its copy of the pipeline and its slot.

    It ends in this order, whatever ended it: input, last frames out, `on_stream_stop`, data, the
    last events, slot.

    `make_flow` makes the way of its frames, once `on_stream_start` is over. `check_shared` looks
    for writes into what all streams share. `calling` is held as long as the session lives.
    """

    def __init__(
        self,
        stream: Stream,
        hooks: Hooks,
        *,
        params: ParamUpdates,
        messages: ControlMessages,
        watch: CallerWatch,
        make_flow: Callable[[], FlowProtocol],
        check_shared: Callable[[], object],
        slot: Slot,
        calling: ExitStack,
    ) -> None:
        self.id = stream.request.stream_id
        self.key = stream.request.key
        self.reason = ""
        self.failed = False
        """Whether an error ended it."""
        self.stream = stream
        self.status = stream.status
        self.messages = messages
        self.watch = watch
        self._hooks = hooks
        self._params = params
        self._make_flow = make_flow
        self._check_shared = check_shared
        self._reports = StatusReports(stream.status, stream.events, stream.data, self._refresh)
        self._slot: Slot | None = slot
        self._calling = calling
        self.flow: FlowProtocol | None = None
        """The way of its frames; None until `on_stream_start` is over."""
        self._begun = False
        self._finishing = False
        self._cut = False
        self._surrendered = False
        self._flowing = asyncio.Event()
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, predecessor: Session | None, over: Callable[[Session], None]) -> None:
        """Begin, as soon as `predecessor` (the same stream, started before) is over.

        `over` is called when nothing is left of it.
        """
        self._task = asyncio.create_task(self._run(predecessor, over), name=f"stream {self.id}")

    @property
    def params(self) -> Any:
        """The newest valid parameters; the hooks have them from the next frame on."""
        return self._params.value

    @property
    def over(self) -> bool:
        return self._task is not None and self._task.done()

    @property
    def ending(self) -> bool:
        """Whether it takes no more input and no more parameters."""
        return self._ending.is_set() or self.over

    def end(self, reason: str, *, failed: bool = False) -> None:
        """Ask it to end; the first reason stays. `wait` waits for the end."""
        if not self._ending.is_set():
            self.reason, self.failed = reason, failed
            self._ending.set()

    def surrender(self) -> Slot | None:
        """Give the slot to a successor, and leave the channels to it: they have the same names."""
        slot, self._slot = self._slot, None
        self._surrendered = True
        self.stream.channels.leave_open()
        return slot

    async def flowing(self) -> FlowProtocol | None:
        """The way of its frames, once `on_stream_start` is over; None if it ended before."""
        await self._flowing.wait()
        return self.flow

    async def applied(self) -> None:
        """Wait until the hooks have the newest parameters, and every control message."""
        await self._params.applied()
        await self.messages.handled()

    async def wait(self, limit: float | None = None) -> bool:
        """Wait until nothing is left of it; False after `limit` seconds."""
        assert self._task is not None
        await asyncio.wait((self._task,), timeout=limit)
        return self._task.done()

    def cut(self) -> None:
        """End it at once; what is in hand is lost. A second time gives up its last words too."""
        self.end("the container is shutting down")
        if self._task is not None and (self._cut or not self._finishing):
            self._task.cancel()
        self._cut = True

    def update(self, changes: object) -> dict[str, Any]:
        """Merge and validate `changes`; hooks see them from the next frame on.

        Returns all parameters as JSON has them. Raises `InvalidInput`, and changes nothing then.
        """
        self.watch.heard()
        return self._params.update(changes)

    def figures(self) -> StreamFigures:
        """The totals of its stream so far."""
        if self.flow is not None:
            self.flow.refresh()
        return self.stream.figures()

    # --- the stream's one task -------------------------------------------------------------------

    async def _run(self, predecessor: Session | None, over: Callable[[Session], None]) -> None:
        current_job.set(Job(label(self.id)))
        try:
            with self._calling:
                if predecessor is not None:
                    await predecessor.wait()
                if not self._surrendered:
                    await self._live()
        finally:
            self._flowing.set()  # never, if not by now
            self._params.over()
            self.messages.over()
            slot, self._slot = self._slot, None
            if slot is not None:
                slot.release()
            over(self)

    async def _live(self) -> None:
        self.stream.events.start()
        self.stream.data.start()
        reporting = self._beside(self._reports.run())
        helpers = [
            self._beside(self.watch.run(self._activity, self.end)),
            self._beside(self._params.run(partial(self._hook, "on_params_update"))),
            self._beside(self.messages.run(self._new_message)),
        ]
        if (records := self.stream.channels.control()) is not None:
            reading = listen(records, self.watch, self.update, self.messages, self.end)
            helpers.append(self._beside(reading))
        try:
            try:
                await self._frames()
            except StreamFailed as error:
                self.end(str(error), failed=True)
                self.stream.events.put(error_event("stream", error, str(error), count=1))
            except Exception as error:
                logger.exception("stream %s: an error in the runner ended it", label(self.id))
                self.end(f"an internal error ended the stream: {type(error).__name__}", failed=True)
            async with self.stream.caller.turn:  # a hook that runs beside the frames may end
                pass
        finally:
            for task in helpers:
                task.cancel()
            try:
                await asyncio.wait(helpers)
            finally:
                await self._finish(reporting)

    def _beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that lives as long as the frames; an error of its own ends the stream."""

        def look(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("stream %s: an error in the runner", label(self.id), exc_info=error)
                self.end(f"an internal error ended the stream: {type(error).__name__}", failed=True)

        task = asyncio.create_task(work, name=f"beside stream {self.id}")
        task.add_done_callback(look)
        return task

    async def _frames(self) -> None:
        """Until the stream is over, its last frames out. Raises `StreamFailed`."""
        if self._ending.is_set():
            return
        if not await self._hook("on_stream_start", self.params):
            raise StreamFailed(self.status.last_error or "on_stream_start failed")
        self._begun = True
        if self._ending.is_set():
            return
        self.flow = self._make_flow()
        self._flowing.set()
        self.status.move("ONLINE")
        self.status.news.set()
        running = asyncio.create_task(self.flow.run(), name=f"stream {self.id} frames")
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait((running, ending), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                self.flow.stop()
                await asyncio.wait((running,), timeout=self.stream.caller.limit + STOP_SECONDS)
        finally:
            ending.cancel()
            running.cancel()
            await asyncio.wait((running, ending))
        if not running.cancelled():
            running.result()
            self.end("the input ended")

    async def _finish(self, reporting: asyncio.Task[None]) -> None:
        self._finishing = True
        # To the caller of one that was started again, the stream goes on.
        self.status.move("LOADING" if self._surrendered else "OFFLINE")
        try:
            if self._begun:
                await self._hook("on_stream_stop")
            self._check_shared()
        finally:
            reporting.cancel()
            await asyncio.gather(
                asyncio.wait((reporting,)), self.stream.data.aclose(), self._last_words()
            )
        logger.info("stream %s is over: %s", label(self.id), self.reason)

    async def _last_words(self) -> None:
        events = self.stream.events
        limit = 0.0  # if it is cut off
        try:
            await self.stream.data.settled()  # the last status tells what became of every record
            if not self._surrendered:  # to its caller the stream goes on
                self._reports.put()
                ended = {"type": "stream_ended", "reason": self.reason, "timestamp": time.time()}
                events.put(ended)
            limit = CLOSE_SECONDS
        finally:
            await events.aclose(limit)

    async def _hook(
        self, name: str, *arguments: Any, before: Callable[[], None] | None = None
    ) -> bool:
        """Call a hook that makes no frames. False if it raised, which is told."""
        hook = getattr(self.stream.copy, name) if name in self._hooks else None
        try:
            await self.stream.caller.call(hook, *arguments, name=name, before=before)
        except HookHung as error:
            self.stream.budget.report(name, error)
            self.end(str(error), failed=True)
        except Exception as error:  # noqa: BLE001 — an author's code; it is counted and told
            self.stream.budget.report(name, error)
        else:
            return True
        return False

    async def _new_message(self, message: dict[str, Any]) -> None:
        if await self.flowing() is not None:  # not before `on_stream_start`, which may fail
            await self._hook("on_control", message)

    # --- beside the frames -----------------------------------------------------------------------

    def _activity(self) -> object:
        """None before `on_stream_start` is over: nobody looks for input yet."""
        return None if self.flow is None else (self.status.input.count, self.flow.bytes_in)

    def _refresh(self) -> None:
        if self.flow is not None:
            self.flow.refresh()
        self._check_shared()
