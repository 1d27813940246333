"""A started stream: its channels and the tasks that serve them, with one life for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, Final

from livepeer.client.http.closing import close_each
from livepeer.client.live.ahead import Ahead
from livepeer.client.live.calls import LiveCalls
from livepeer.client.live.channels import Control, records, records_by_gateway
from livepeer.client.live.ending import Ending
from livepeer.client.live.events import EventsChannel
from livepeer.client.live.input import Input, Publication
from livepeer.client.live.media import Returned
from livepeer.client.live.output import Frames
from livepeer.client.live.payments import Payments
from livepeer.client.live.stream import Live, LiveStats
from livepeer.client.payments.budget import Budget

LOST_DRAIN: Final = 0.5
LEAVE_LIMIT: Final = 5.0
"""How long each part of a session may take to close, in seconds."""


class Started:
    """Opens what it needs by itself, media at first use; `aclose` ends all of it."""

    def __init__(
        self,
        calls: LiveCalls,
        live: Live,
        ending: Ending,
        outputs: Mapping[str, Any],
        ahead: Ahead,
        budget: Budget | None = None,
    ) -> None:
        self.live = live
        self.stopped = False
        self.control: Control | None = None
        self.events: EventsChannel | None = None
        self._calls, self._ending, self._outputs = calls, ending, outputs
        self._ahead = ahead
        self._input: Input | None = None
        self._returned = Returned()
        self._frames: list[Frames[Any]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._began = time.monotonic()
        if live.control_url and live.events_url:
            self.control = Control(live.control_url, calls.tls, ending)
            known = partial(calls.known, live)
            self.events = EventsChannel(live.events_url, calls.tls, known, ending)
            self.spawn(self.control.run())
            self.spawn(self.events.run())
        if live.price:
            self.spawn(Payments(partial(calls.pay, live, budget), ending).run())
        if (bill := calls.paid_by(live)) is not None:
            bill.listen(lambda error: ending.finish(f"it cannot be paid for: {error}", lost=True))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work that lasts as long as the stream at most; where it fails, the session is lost."""
        task = asyncio.create_task(work, name=f"livepeer-live {self.live.stream_id}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def publish_frames(
        self, url: str, frames: AsyncIterable[Any] | Iterable[Any], end: bool
    ) -> Publication:
        return Publication(self.spawn(self._into(url).send_frames(frames, end=end)))

    def publish_segments(
        self, url: str, segments: AsyncIterable[bytes] | Iterable[bytes], end: bool
    ) -> Publication:
        return Publication(self.spawn(self._into(url).send_segments(segments, end=end)))

    def records(self, url: str) -> AsyncGenerator[dict[str, Any]]:
        if not self.live.direct:
            return records_by_gateway(partial(self._calls.open_data, self.live), self._ending)
        return records(url, self._calls.tls, self._ending)

    def _into(self, url: str) -> Input:
        if self._input is None:
            self._input = Input(
                url,
                self._calls.tls,
                self._outputs,
                self._ending,
                self._returned,
                last=self.live.ended_by is not None,
            )
        return self._input

    def frames(self, url: str, **options: Any) -> Frames[Any]:
        # The first reader gets the beginning, as far as it is still there; later ones join.
        start = "current" if self._frames else 0
        tls = self._calls.tls
        frames: Frames[Any] = Frames(url, tls, self._ending, self._returned, start=start, **options)
        self._frames.append(frames)
        return frames

    def stats(self) -> LiveStats:
        parts = [part for part in (self._input, self.control, self.events) if part]
        return LiveStats(
            seconds=time.monotonic() - self._began,
            events=self.events.count if self.events else 0,
            errors=self.events.errors if self.events else 0,
            reconnects=sum(part.outage.tries for part in [*parts, *self._frames]),
            published=self._input.stats if self._input else None,
            subscribed=self._frames[0].stats if self._frames else None,
        )

    async def aclose(self) -> None:
        """Media stops, channels close, the pipeline is told. Safe to repeat."""
        if self.stopped:
            return
        self.stopped = True
        self._ending.finish("ended by this side", lost=False)
        try:
            await self._close_channels()
        finally:
            await self._calls.leave(self.live)

    async def _close_channels(self) -> None:
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                # One that publishes is as long about its end as the iterable that it was given.
                await asyncio.wait(tasks, timeout=LEAVE_LIMIT)
        finally:
            # Readers first: nothing that is still being sent waits for them then. Nobody will take
            # what is left to send where the stream is lost.
            limit = LOST_DRAIN if self._ending.lost else LEAVE_LIMIT
            parts = (*self._frames, self._input, self.control, self._ahead)
            await close_each([part for part in parts if part is not None], limit)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        # Whoever awaits a `Publication` gets it too; nobody has to.
        self._ending.finish(f"what was published failed: {error}", lost=True)
