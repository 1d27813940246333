"""Streams of events: opened at first use, closed at their end, and stopped by leaving them."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from fractions import Fraction
from types import TracebackType
from typing import Any, Final, Self

from livepeer.client.exceptions import LivepeerError, ProtocolError
from livepeer.client.network.event_stream import PROGRESS, EventStream, value_of_event
from livepeer.client.network.jobs import RunningJob
from livepeer.client.portal import Portal
from livepeer.client.types import StreamEvent

COLLECTED_LIMIT: Final = 1 << 28
"""What `run` collects of a stream at most, in characters; a value counts for 64 more."""


class AsyncStreamResponse:
    """The events of one call, as they come.

        async with gw.stream_async("llm", input={"prompt": "hi"}) as events:
            async for event in events:
                print(event.json()["token"], end="")

    The loop gives the pipeline's values, `progress` the last report of progress, `all()` every
    event. The call is made on entering, or with the first event. Leaving the `async with` block
    early, or `aclose`, closes the connection, which stops the pipeline. Nothing is read ahead of
    the loop except what the socket and one buffer hold.

    Raises what `Gateway.run` raises; the values before an error are its `received`.
    """

    def __init__(self, start: Callable[[], Awaitable[RunningJob]]) -> None:
        self._start: Callable[[], Awaitable[RunningJob]] | None = start
        self._source: EventStream | None = None
        self._ready: deque[StreamEvent] = deque()
        self._progress: StreamEvent | None = None
        self._ended = False
        self._dropped: weakref.finalize[Any, Any]

    @property
    def orchestrator(self) -> str | None:
        """The URL of the orchestrator that runs it, or of the gateway; None before the call."""
        return self._source.running.where.get("orchestrator") if self._source else None

    @property
    def job_id(self) -> str | None:
        """The id that the job was sent with; None before the call."""
        return self._source.running.where.get("job_id") if self._source else None

    @property
    def balance(self) -> str | None:
        """The balance that the orchestrator reported at the end of the stream, in its own words
        (`0.000`); None before that, or if it reported none."""
        return self._source.balance if self._source else None

    @property
    def spent(self) -> Fraction:
        """Wei that this call has paid so far."""
        return self._source.running.spent if self._source else Fraction(0)

    @property
    def progress(self) -> StreamEvent | None:
        """The last progress event before the loop's position, None before the first. Its `json()`
        is `{"progress": 0.5, "message": "..."}`, a fraction of 1."""
        return self._progress

    async def open(self) -> Self:
        """Make the call, if that has not been done. Raises what `Gateway.run` raises."""
        if self._start is not None:
            start, self._start = self._start, None
            running = await start()
            self._source = EventStream(running)
            # Whoever drops the stream has left it, and the pipeline has to be told.
            loop = asyncio.get_running_loop()
            self._dropped = weakref.finalize(self, _close_soon, loop, running)
            self._dropped.atexit = False
        return self

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        while (event := await self._next()).event == PROGRESS:
            pass
        return event

    def all(self) -> AsyncIterator[StreamEvent]:
        """All further events, progress too; `event.event` is the name."""
        return _All(self)

    async def batch(self) -> list[StreamEvent]:
        """Wait for events and return all that have arrived, of every name; empty at the end."""
        try:
            if not self._ready:
                await self._fill()
        except StopAsyncIteration:
            return []
        events = list(self._ready)
        self._ready.clear()
        return events

    async def aclose(self) -> None:
        """Stop. Safe at any time, also twice."""
        self.leave()

    def leave(self) -> None:
        """`aclose` without waiting; only on the loop that reads."""
        self._start = None
        self._ended = True
        self._ready.clear()
        self._close()

    def _close(self) -> None:
        if self._source and self._dropped.detach():
            self._source.running.close()

    async def _next(self) -> StreamEvent:
        if not self._ready:
            await self._fill()
        event = self._ready.popleft()
        if event.event == PROGRESS:
            self._progress = event
        return event

    async def _fill(self) -> None:
        """Wait for at least one event. Raises the error that ends the stream, or its end."""
        try:
            await self.open()
            while not self._ready:
                if self._ended or self._source is None or self._source.ended:
                    raise StopAsyncIteration
                self._ready.extend(await self._source.read())
        except BaseException:
            self._ended = True
            self._close()
            raise


class _All:
    """Every event of a stream, in its place."""

    def __init__(self, stream: AsyncStreamResponse) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        return await self._stream._next()


class StreamResponse:
    """The events of one call, as they come, for code without a loop.

        with gw.stream("llm", input={"prompt": "hi"}) as events:
            for event in events:
                print(event.json()["token"], end="")

    The loop gives the pipeline's values, `progress` the last report of progress, `all()` every
    event. The call has been made when `Gateway.stream` returns. Leaving the `with` block early, or
    `close`, stops the pipeline.

    Raises what `Gateway.run` raises; the values before an error are its `received`.
    """

    def __init__(self, portal: Portal, stream: AsyncStreamResponse) -> None:
        self._portal, self._stream = portal, stream
        self._ready: deque[StreamEvent] = deque()
        self._progress: StreamEvent | None = None
        portal.call(stream.open())
        # The stream belongs to the portal's thread, and so does closing it when this is dropped.
        self._leave = weakref.finalize(self, portal.soon, stream.leave)

    @property
    def orchestrator(self) -> str | None:
        """The URL of the orchestrator that runs it, or of the gateway."""
        return self._stream.orchestrator

    @property
    def job_id(self) -> str | None:
        """The id that the job was sent with; None before the call."""
        return self._stream.job_id

    @property
    def balance(self) -> str | None:
        """The balance that the orchestrator reported at the end of the stream, in its own words
        (`0.000`); None before that, or if it reported none."""
        return self._stream.balance

    @property
    def spent(self) -> Fraction:
        """Wei that this call has paid so far."""
        return self._stream.spent

    @property
    def progress(self) -> StreamEvent | None:
        """The last progress event before the loop's position, None before the first. Its `json()`
        is `{"progress": 0.5, "message": "..."}`, a fraction of 1."""
        return self._progress

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamEvent:
        while (event := self._next()).event == PROGRESS:
            pass
        return event

    def all(self) -> Iterator[StreamEvent]:
        """All further events, progress too; `event.event` is the name."""
        return iter(self._next_or_none, None)

    def _next_or_none(self) -> StreamEvent | None:
        try:
            return self._next()
        except StopIteration:
            return None

    def _next(self) -> StreamEvent:
        if not self._ready:
            if not self._leave.alive:
                raise StopIteration
            # All that is there at once: one hop between threads per read, not per event.
            self._ready.extend(self._portal.call(self._stream.batch()))
            if not self._ready:
                raise StopIteration
        event = self._ready.popleft()
        if event.event == PROGRESS:
            self._progress = event
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop. Safe at any time, also twice."""
        self._ready.clear()
        self._leave()


async def collect(running: RunningJob) -> list[Any]:
    """The values of a stream, all of them; an error keeps those that came before it."""
    values: list[Any] = []
    size = 0

    async def started() -> RunningJob:
        return running

    async with AsyncStreamResponse(started) as events:
        try:
            async for event in events:
                values.append(value_of_event(event))
                size += len(event.data) + 64
                if size > COLLECTED_LIMIT:
                    raise running.failed(
                        ProtocolError(
                            f"the values of the stream are over {COLLECTED_LIMIT:,} bytes together:"
                            " take them one by one with stream()",
                            may_have_run=True,
                            **running.where,
                        )
                    )
        except LivepeerError as error:
            error.received = tuple(values)
            raise
    return values


def _close_soon(loop: asyncio.AbstractEventLoop, running: RunningJob) -> None:
    with contextlib.suppress(RuntimeError):  # a loop that has ended closed everything with it
        loop.call_soon_threadsafe(running.close)
