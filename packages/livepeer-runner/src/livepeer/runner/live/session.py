"""One stream, from `stream/start` to the moment that nothing of it is left."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from livepeer.runner.job import Job, current_job
from livepeer.runner.live.caller import Caller
from livepeer.runner.live.calls import HookHung
from livepeer.runner.live.control import ControlMessages
from livepeer.runner.live.failures import Refusals, StreamFailed, error_event
from livepeer.runner.live.heartbeat import Heartbeat
from livepeer.runner.live.outbox import CLOSE_SECONDS, Outbox
from livepeer.runner.live.params import Values
from livepeer.runner.live.request import StartRequest, label
from livepeer.runner.live.stream import FlowProtocol, Stream
from livepeer.runner.live.updates import ParamUpdates
from livepeer.runner.running.slots import Slot

if TYPE_CHECKING:
    from livepeer.runner.live.work import LiveWork

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""What a flow gets to finish the frame in hand and to bring the last one out."""


class Session:
    """Owns the stream's task, its channels, its copy of the pipeline and its slot.

    It ends in this order, whatever ended it: input, last frames out, `on_stream_stop`, data, the
    last events, slot.
    """

    def __init__(
        self, work: LiveWork, request: StartRequest, params: Values, slot: Slot, calling: ExitStack
    ) -> None:
        self.id = request.stream_id
        self.key = request.key
        self.reason = ""
        self.failed = False
        """Whether that is an error."""
        self.stream = Stream.of(work, request, params.value)
        self.status = self.stream.status
        self._work = work
        refusals = Refusals(self.stream.events.put)
        self._params = ParamUpdates(work.parameters, params, self.stream, refusals)
        self._messages = ControlMessages(
            work.cls.__name__, taken="on_control" in work.hooks, refusals=refusals
        )
        self._heart = Heartbeat(self.stream, self._refresh)
        self._slot: Slot | None = slot
        self._calling = calling
        self._caller = Caller(
            work.cls.idle_timeout,
            activity=self._activity,
            update=self.update,
            message=self.message,
            end=self.end,
        )
        self._flow: FlowProtocol | None = None
        self._begun = False
        self._finishing = False
        self._cut = False
        self._surrendered = False
        self._flowing = asyncio.Event()
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, predecessor: Session | None = None) -> None:
        """Begin, as soon as `predecessor` (the same stream, started before) is over."""
        self._task = asyncio.create_task(self._run(predecessor), name=f"stream {self.id}")

    @property
    def params(self) -> Any:
        """The newest valid parameters; the hooks have them from the next frame on."""
        return self._params.value

    @property
    def flow(self) -> FlowProtocol | None:
        return self._flow

    @property
    def over(self) -> bool:
        return self._task is not None and self._task.done()

    @property
    def ending(self) -> bool:
        """Whether it takes no more input and no more parameters."""
        return self._ending.is_set() or self.over

    def end(self, reason: str, *, failed: bool = False) -> None:
        """Ask it to end; the first reason stays. `wait` waits until it has."""
        if not self._ending.is_set():
            self.reason, self.failed = reason, failed
            self._ending.set()

    def nobody_behind(self) -> None:
        """Its caller has read all it wants: no channel is kept open for readers at the end."""
        self.stream.channels.nobody_behind()

    def surrender(self) -> Slot | None:
        """Give the slot to a successor, and leave the channels to it: they have the same names."""
        slot, self._slot = self._slot, None
        self._surrendered = True
        self.stream.channels.leave_open()
        return slot

    async def flowing(self) -> FlowProtocol | None:
        """The way of its frames, once `on_stream_start` is over; None where it ended before."""
        await self._flowing.wait()
        return self._flow

    async def applied(self) -> None:
        """Wait until the hooks have the newest parameters, and every control message."""
        await self._params.applied()
        await self._messages.handled()

    async def wait(self, limit: float | None = None) -> bool:
        """Wait until nothing is left of it; False where the limit came first."""
        assert self._task is not None
        await asyncio.wait((self._task,), timeout=limit)
        return self._task.done()

    def cut(self) -> None:
        """End it at once; what is in hand is lost. A second time gives up its last words too."""
        self.end("the container is shutting down")
        if self._task is not None and (self._cut or not self._finishing):
            self._task.cancel()
        self._cut = True

    def heard(self) -> None:
        """Its caller is there."""
        self._caller.heard()

    def update(self, changes: object) -> dict[str, Any]:
        """Merge and validate; hooks see them from the next frame on. Gives them all, as JSON.

        Raises `InvalidInput`, and changes nothing then.
        """
        self._caller.heard()
        return self._params.update(changes)

    def message(self, message: object) -> None:
        """For `on_control`, between two frames; told by an event where it cannot be taken."""
        self._messages.put(message)

    # --- the stream's one task -------------------------------------------------------------------

    async def _run(self, predecessor: Session | None) -> None:
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
            self._messages.over()
            slot, self._slot = self._slot, None
            if slot is not None:
                slot.release()
            self._work.ended(self)

    async def _live(self) -> None:
        self.stream.events.start()
        self.stream.data.start()
        beating = self._beside(self._heart.run())
        helpers = [
            self._beside(self._caller.watch()),
            self._beside(self._params.run(self._new_params)),
            self._beside(self._messages.run(self._new_message)),
        ]
        if (records := self.stream.channels.control()) is not None:
            helpers.append(self._beside(self._caller.listen(records)))
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
                await self._finish(beating)

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
        self._flow = self._work.flow(self.stream)
        self._flowing.set()
        self.status.move("ONLINE")
        self._heart.news()
        running = asyncio.create_task(self._flow.run(), name=f"stream {self.id} frames")
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait((running, ending), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                self._flow.stop()
                await asyncio.wait((running,), timeout=self._work.cls.hook_timeout + STOP_SECONDS)
        finally:
            ending.cancel()
            running.cancel()
            await asyncio.wait((running, ending))
        if not running.cancelled():
            running.result()
            self.end("the input ended")

    async def _finish(self, beating: asyncio.Task[None]) -> None:
        self._finishing = True
        # To the caller of one that was started again, the stream goes on.
        self.status.move("LOADING" if self._surrendered else "OFFLINE")
        events, data = self.stream.events, self.stream.data
        try:
            if self._begun:
                await self._hook("on_stream_stop")
            self._work.shared.check(self.stream.copy)
        finally:
            beating.cancel()
            await asyncio.gather(
                asyncio.wait((beating,)), data.aclose(), self._last_words(events, data)
            )
        logger.info("stream %s is over: %s", label(self.id), self.reason)

    async def _last_words(self, events: Outbox, data: Outbox) -> None:
        limit = 0.0  # where it is cut off
        try:
            await data.settled()  # so that the last status tells what became of every record
            if not self._surrendered:  # to its caller the stream goes on
                events.put(self._heart.event())
                ended = {"type": "stream_ended", "reason": self.reason, "timestamp": time.time()}
                events.put(ended)
            limit = CLOSE_SECONDS
        finally:
            await events.aclose(limit)

    async def _hook(
        self, name: str, *arguments: Any, before: Callable[[], None] | None = None
    ) -> bool:
        """Call a hook that makes no frames; what it raises is told, and False."""
        hook = getattr(self.stream.copy, name) if name in self._work.hooks else None
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

    async def _new_params(self, swap: Callable[[], None], value: Any) -> None:
        def before() -> None:
            swap()
            self._heart.news()

        await self._hook("on_params_update", value, before=before)

    async def _new_message(self, message: dict[str, Any]) -> None:
        if await self.flowing() is not None:  # not before `on_stream_start`, which may fail
            await self._hook("on_control", message)

    # --- beside the frames -----------------------------------------------------------------------

    def _activity(self) -> object:
        """None before `on_stream_start` is over: nobody looks for input yet."""
        return None if self._flow is None else (self.status.input.count, self._flow.bytes_in)

    def _refresh(self) -> None:
        if self._flow is not None:
            self._flow.refresh()
        self._work.shared.check(self.stream.copy)
