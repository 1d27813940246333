"""Streams of events: opened at first use, closed at their end, and stopped by leaving them."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import aiohttp

from livepeer.client.exceptions import (
    CallTimeoutError,
    ConnectionFailedError,
    LivepeerError,
    PipelineError,
    ProtocolError,
    StreamInterruptedError,
)
from livepeer.client.files import FileOutput
from livepeer.client.http import translate
from livepeer.client.jobs import Running
from livepeer.client.portal import Portal
from livepeer.client.results import EVENT_STREAM, error_of_event, media_type, value_of
from livepeer.client.sse import Parser
from livepeer.client.types import StreamEvent
from livepeer.client.values import decode
from livepeer.client.wire import error_body

#: Names of events that end a stream with an error.
_FAILURES = frozenset({"error", "insufficient balance"})


class AsyncStreamResponse:
    """The events of one call, as they come.

        async with gw.stream_async("llm", input={"prompt": "hi"}) as events:
            async for event in events: ...

    The call is made on entering it, or with the first event. Leaving it early, by `break`, `aclose`
    or an exception, closes the connection, which stops the pipeline. Nothing is read ahead of the
    reader but what the socket and one buffer hold.
    """

    def __init__(self, start: Callable[[], Awaitable[Running]]) -> None:
        self._start: Callable[[], Awaitable[Running]] | None = start
        self._running: Running | None = None
        self._parser = Parser()
        self._ready: deque[StreamEvent] = deque()
        self._error: LivepeerError | None = None
        self._ended = False
        self._dropped: weakref.finalize[Any, Any]

    @property
    def orchestrator(self) -> str | None:
        """Who runs it (or the gateway that was called), once it is open."""
        return self._running.where.get("orchestrator") if self._running else None

    @property
    def job_id(self) -> str | None:
        return self._running.where.get("job_id") if self._running else None

    @property
    def balance(self) -> str | None:
        """The balance that the orchestrator told at the end of the stream."""
        return self._parser.balance

    async def open(self) -> Self:
        """Make the call, where that has not been done. Raises what `run` would."""
        if self._start is not None:
            start, self._start = self._start, None
            self._running = running = await start()
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
        if not self._ready:
            await self._fill()
        return self._ready.popleft()

    async def batch(self) -> list[StreamEvent]:
        """All events that are there, at least one; an empty list at the end."""
        try:
            if not self._ready:
                await self._fill()
        except StopAsyncIteration:
            return []
        events = list(self._ready)
        self._ready.clear()
        return events

    async def aclose(self) -> None:
        """Stop. Harmless at any time, also twice."""
        self.leave()

    def leave(self) -> None:
        """`aclose` without waiting; only on the loop that reads."""
        self._start = None
        self._ended = True
        self._ready.clear()
        self._close()

    def _close(self) -> None:
        if self._running and self._dropped.detach():
            self._running.close()

    async def _fill(self) -> None:
        """Wait for at least one event. Raises the error that ends the stream, or its end."""
        await self.open()
        try:
            while not self._ready:
                if self._error is not None:
                    error, self._error = self._error, None
                    self._ended = True
                    raise error
                if self._ended:
                    raise StopAsyncIteration
                await self._read()
        except BaseException:
            self._ended = True
            self._close()
            raise

    async def _read(self) -> None:
        running = self._running
        assert running is not None
        if media_type(running.headers) != EVENT_STREAM:
            self._ready.extend(await _plain(running))
            self._ended = True
            self._close()
            return
        named: dict[str, Any] = dict(running.where)
        chunk = b""
        try:
            async with running.deadline.timeout():
                chunk = await running.response.content.readany()
        except TimeoutError as error:
            late = CallTimeoutError(
                f"the stream did not end within the {running.deadline.seconds:g} s of this call",
                phase="stream",
                may_have_run=True,
                **named,
            )
            raise running.failed(late) from error
        except (aiohttp.ClientError, OSError) as error:
            broken = translate(error, str(running.response.url), job=True, named=named, begun=True)
            raise running.failed(_interrupted(broken, named)) from error
        try:
            events = self._parser.feed(chunk) if chunk else self._parser.end()
        except ProtocolError as error:
            raise running.failed(ProtocolError(error.message, may_have_run=True, **named)) from None
        for event in events:
            if event.event in _FAILURES:
                told = error_body(event.data)
                failure = error_of_event(told, event.event, where=running.where)
                self._error = running.failed(failure)
                break
            self._ready.append(event)
        if self._parser.done or self._error is not None:
            # Only a caller that leaves frees the place at the orchestrator, so leave at once.
            self._close()
            self._ended = True
        elif not chunk or self._parser.flooded:
            self._close()
            self._error = running.failed(_interrupted(None, named))


class StreamResponse:
    """The events of one call, as they come, for code without a loop.

        with gw.stream("llm", input={"prompt": "hi"}) as events:
            for event in events: ...

    The call has been made when this exists. Leaving it early stops the pipeline.
    """

    def __init__(self, portal: Portal, stream: AsyncStreamResponse) -> None:
        self._portal, self._stream = portal, stream
        self._ready: deque[StreamEvent] = deque()
        portal.call(stream.open())
        # The stream belongs to the portal's thread, and so does closing it when this is dropped.
        self._leave = weakref.finalize(self, portal.soon, stream.leave)

    @property
    def orchestrator(self) -> str | None:
        """Who runs it, or the gateway that was called."""
        return self._stream.orchestrator

    @property
    def job_id(self) -> str | None:
        return self._stream.job_id

    @property
    def balance(self) -> str | None:
        """The balance that the orchestrator told at the end of the stream."""
        return self._stream.balance

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamEvent:
        if not self._ready:
            if not self._leave.alive:
                raise StopIteration
            # All that is there at once: one hop between threads per read, not per event.
            self._ready.extend(self._portal.call(self._stream.batch()))
            if not self._ready:
                raise StopIteration
        return self._ready.popleft()

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
        """Stop. Harmless at any time, also twice."""
        self._ready.clear()
        self._leave()


async def collect(running: Running) -> list[Any]:
    """The values of a stream, all of them; an error keeps those that came before it."""
    values: list[Any] = []
    keep = values.append

    async def started() -> Running:
        return running

    async with AsyncStreamResponse(started) as events:
        try:
            async for event in events:
                if event.event == "message":
                    keep(_value(event))
        except (PipelineError, ConnectionFailedError, CallTimeoutError) as error:
            error.received = tuple(values)
            raise
    return values


def _close_soon(loop: asyncio.AbstractEventLoop, running: Running) -> None:
    with contextlib.suppress(RuntimeError):  # a loop that has ended closed everything with it
        loop.call_soon_threadsafe(running.close)


def _value(event: StreamEvent) -> Any:
    try:
        return decode(event.json())
    except ValueError:
        return event.data


async def _plain(running: Running) -> list[StreamEvent]:
    body = await running.body()
    value = value_of(
        body, running.headers, gateway=running.gateway, schema=None, where=running.where
    )
    if value is None:
        return []
    if isinstance(value, FileOutput):
        return [StreamEvent(value.data_uri())]
    # The body as it came, so that a JSON text stays JSON, as in a stream.
    return [StreamEvent(body.decode("utf-8", "replace"))]


def _interrupted(broken: LivepeerError | None, named: dict[str, Any]) -> StreamInterruptedError:
    how = broken.message if broken else "it ended without [DONE]"
    return StreamInterruptedError(
        f"the stream was interrupted: {how}; what came so far may not be all",
        may_have_run=True,
        **named,
    )


__all__ = ["AsyncStreamResponse", "StreamResponse", "collect"]
