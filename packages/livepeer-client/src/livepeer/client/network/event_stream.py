"""A running job as a source of events: what its answer's bytes mean, and how it ends."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import Any, Final

from livepeer.client.exceptions import (
    CallTimeoutError,
    LivepeerError,
    ProtocolError,
    StreamInterruptedError,
)
from livepeer.client.files import FileOutput, decode
from livepeer.client.http.translation import translate
from livepeer.client.network.jobs import RunningJob
from livepeer.client.protocol.results import EVENT_STREAM, error_of_event, media_type, value_of
from livepeer.client.protocol.sse import EventParser
from livepeer.client.protocol.wire import error_body
from livepeer.client.types import StreamEvent
from livepeer.client.untrusted import LARGE, redacted
from livepeer.trickle.exceptions import TrickleError, TrickleTimeout

PROGRESS: Final = "progress"
"""Tells of a run and is no part of its result; any other name is the pipeline's own."""
_FAILURES: Final = frozenset({"error", "insufficient balance"})
"""Names of events that end a stream with an error."""
KEPT_EVENTS: Final = 4096
"""Of the values of a stream so many, of so many characters together, are kept for its error."""
KEPT_SIZE: Final = 1 << 22


class EventStream:
    """Reads the events of one answer. `ended` says that there is nothing more to read."""

    def __init__(self, running: RunningJob) -> None:
        self.ended = False
        self._running = running
        self._parser = EventParser()
        self._began = False
        self._error: LivepeerError | None = None
        self._kept: deque[StreamEvent] = deque()
        self._kept_size = 0

    @property
    def running(self) -> RunningJob:
        return self._running

    @property
    def balance(self) -> str | None:
        return self._parser.balance

    async def read(self) -> list[StreamEvent]:
        """The events that come next, perhaps none yet. Raises the error that ends the stream, after
        the events before it have been given."""
        if self._error is not None:
            error, self._error = self._error, None
            self.ended = True
            error.received = self._received()
            raise error
        running = self._running
        if media_type(running.headers) != EVENT_STREAM:
            self.ended = True
            return await _plain(running)
        named: dict[str, Any] = dict(running.where)
        chunk = b""
        try:
            chunk = await running.response.read(running.deadline.remaining())
            events = self._parser.feed(chunk) if chunk else self._parser.end()
        except TrickleTimeout as error:
            late = CallTimeoutError(
                f"the stream did not end within the {running.deadline.seconds:g} s of this call",
                phase="stream",
                may_have_run=True,
                received=self._received(),
                **named,
            )
            raise running.failed(late) from error
        except TrickleError as error:
            broken = translate(error, running.response, job=True, named=named)
            raise running.failed(self._interrupted(broken)) from error
        except ProtocolError as error:
            failure = ProtocolError(
                error.message, may_have_run=True, received=self._received(), **named
            )
            raise running.failed(failure) from None
        return self._taken(chunk, events)

    def _taken(self, chunk: bytes, events: list[StreamEvent]) -> list[StreamEvent]:
        running = self._running
        found: list[StreamEvent] = []
        for event in events:
            if event.event in _FAILURES:
                told = error_body(redacted(event.data, running.secrets))
                began = self._began or self._parser.commented
                failure = error_of_event(told, event.event, where=running.where, began=began)
                self._error = running.failed(failure)
                break
            self._began = True
            self._keep(event)
            found.append(event)
        if self._parser.done or self._error is not None:
            # Only a caller that leaves frees the place at the orchestrator, so leave at once.
            running.close()
            self.ended = self._error is None
        elif not chunk and not running.ends_with_done:
            running.close()
            self.ended = True
        elif not chunk or self._parser.flooded:
            running.close()
            self._error = running.failed(self._interrupted(None))
        return found

    def _keep(self, event: StreamEvent) -> None:
        if event.event == PROGRESS:
            return
        self._kept.append(event)
        self._kept_size += len(event.data)
        while len(self._kept) > KEPT_EVENTS or (self._kept_size > KEPT_SIZE and self._kept):
            self._kept_size -= len(self._kept.popleft().data)

    def _received(self) -> tuple[Any, ...]:
        return tuple(value_of_event(event) for event in self._kept)

    def _interrupted(self, broken: LivepeerError | None) -> StreamInterruptedError:
        how = broken.message if broken else "it ended without [DONE]"
        return StreamInterruptedError(
            f"the stream was interrupted: {how}; what came so far may not be all",
            may_have_run=True,
            received=self._received(),
            **self._running.where,
        )


def value_of_event(event: StreamEvent) -> Any:
    """What `run` gives for it: its JSON, with the files in it, else its text."""
    try:
        return decode(event.json())
    except ValueError:
        return event.data


async def _plain(running: RunningJob) -> list[StreamEvent]:
    body = await running.body()
    read = partial(
        value_of,
        body,
        running.headers,
        gateway=running.gateway,
        schema=None,
        where=running.where,
    )
    value = await asyncio.to_thread(read) if len(body) > LARGE else read()
    if value is None:
        return []
    if isinstance(value, FileOutput):
        return [StreamEvent(value.data_uri())]
    # The body as it came, so that a JSON text stays JSON, as in a stream.
    return [StreamEvent(body.decode("utf-8", "replace"))]
