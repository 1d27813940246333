"""The events channel of a live session: what the pipeline tells about itself, and that it ended."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Self

from livepeer.client.live.ending import Ending
from livepeer.client.live.outage import GONE, Outage, Seldom
from livepeer.client.protocol.wire import error_value
from livepeer.trickle import JSONLSubscriber
from livepeer.trickle.exceptions import TrickleConnectionError, TrickleError
from livepeer.trickle.text import printable
from livepeer.trickle.types import TLS

logger = logging.getLogger(__name__)

SILENCE = 14.0
"""How long a pipeline may say nothing before it counts as dead, in seconds: one that runs
reports every 10 s at the latest. An orchestrator tells nobody of a container that died."""
FIRST_SILENCE = 40.0
"""The same before its first report, while its container may still be on its way."""
EVENTS_KEPT: Final = 1000
"""Events that a slow reader may be behind before the oldest are dropped, and their letters."""
LETTERS_KEPT: Final = 1 << 24
TOLD: Final = 500
"""Letters of what a pipeline says that an error repeats."""

IN_ORDER: Final = frozenset({"the input ended", "it was stopped"})
"""Reasons of a runner for an end in good order (specs/live.md); any other is a loss."""


class EventsChannel:
    """Reads the events channel: keeps the status, hands events out, notices the end.

    `known` asks the orchestrator whether it has the stream; None where it does not answer.
    """

    def __init__(
        self, url: str, tls: TLS, known: Callable[[], Awaitable[bool | None]], ending: Ending
    ) -> None:
        self._url, self._tls, self._known, self._ending = url, tls, known, ending
        self._readers: list[EventReader] = []
        self._recent = _Backlog()
        self._seldom = Seldom()
        self.status: dict[str, Any] = {}
        self.last_error: str | None = None
        self._failing = False
        self.count = self.errors = 0
        self.outage = Outage("the events of the stream are read again", ending, reason=self._why)
        ending.listen(self.close)

    async def run(self) -> None:
        """Read until the channel ends, is out of reach for too long, or silent for too long."""
        limit = FIRST_SILENCE
        start = 0
        while True:
            silence = asyncio.timeout(limit)
            reader = JSONLSubscriber(self._url, start=start, tls=self._tls)
            try:
                async with reader as records, silence:
                    async for record in records:
                        self.outage.reached()
                        limit = SILENCE
                        silence.reschedule(asyncio.get_running_loop().time() + limit)
                        self.take(record)
                        if self._ending.over:
                            return
                # After a restart it ends too: a channel that is not there any more looks the same.
                # The pipeline's own end leaves the control channel, which is the orchestrator's.
                gone = await self._known() is False
                told = GONE if gone else "the pipeline ended the stream"
                self._ending.finish(self._why(told), lost=gone or self._failing)
                return
            except TrickleError as broken:
                error = broken
            except TimeoutError:
                known = await self._known()
                if known is not None:
                    told = self._silent(limit) if known else GONE
                    self._ending.finish(self._why(told), lost=True)
                    return
                # It is the way there that is silent, which may last longer.
                error = TrickleConnectionError("the orchestrator does not answer", url=self._url)
            if self.outage.lost(error):
                return
            start = reader.transport.position or 0  # no event twice, and none left out
            await self.outage.pause()

    def _silent(self, limit: float) -> str:
        return (
            f"the pipeline said nothing for {limit:g} s, though one that runs reports every 10 s:"
            " its container is gone, or hangs"
        )

    def reader(self) -> EventReader:
        """A reader of its own, from the events that came so far on."""
        reader = EventReader(self._recent)
        self._readers.append(reader)
        return reader

    def close(self) -> None:
        for reader in self._readers:
            reader.close()

    def take(self, record: dict[str, Any]) -> None:
        inner = record.get("event")
        if "queue_event_type" in record and isinstance(inner, dict):
            record = inner  # the form in which an older runner wraps them
        self.count += 1
        kind = record.get("type")
        if kind == "status":
            self.status, self._failing = record, False
        elif kind == "error":
            self.errors, self._failing = self.errors + 1, True
            message = printable(error_value(record).message, TOLD)
            self.last_error = message or "an error without a message"
            logger.log(self._seldom.level(), "the pipeline reports: %s", self.last_error)
        letters = len(json.dumps(record))
        self._recent.put(record, letters)
        for reader in self._readers:
            reader.put(record, letters)
        if kind == "stream_ended":
            # Its channels stay for a moment, for readers that are behind: there is nothing to come.
            reason = printable(str(record.get("reason") or ""), TOLD)
            in_order = reason in IN_ORDER
            told = f"the pipeline ended the stream{f': {reason}' if reason else ''}"
            self._ending.finish(told if in_order else self._why(told), lost=not in_order)

    def _why(self, told: str) -> str:
        if self.last_error is None or self.last_error in told:
            return told
        return f"{told} (its last error: {self.last_error})"


class _Backlog:
    """The newest events, bounded in number and in letters."""

    def __init__(self, first: Iterable[tuple[dict[str, Any], int]] = ()) -> None:
        self.events = deque(first)
        self._letters = sum(letters for _, letters in self.events)

    def put(self, event: dict[str, Any], letters: int) -> None:
        self.events.append((event, letters))
        self._letters += letters
        while len(self.events) > EVENTS_KEPT or self._letters > LETTERS_KEPT:
            self.pop()

    def pop(self) -> dict[str, Any]:
        event, letters = self.events.popleft()
        self._letters -= letters
        return event


class EventReader:
    """An asynchronous iterator of events; one that is too slow loses the oldest."""

    def __init__(self, first: _Backlog) -> None:
        self._waiting = _Backlog(first.events)
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, event: dict[str, Any], letters: int) -> None:
        self._waiting.put(event, letters)
        self._changed.set()

    def close(self) -> None:
        self._closed = True
        self._changed.set()

    async def aclose(self) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        while not self._waiting.events:
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.pop()
