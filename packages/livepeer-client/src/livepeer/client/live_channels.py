"""The channels of a live session that carry JSON: control, events and data."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final, Self

import aiohttp

from livepeer.client.exceptions import ConnectionFailedError
from livepeer.client.live_ending import Ending
from livepeer.client.sse import Parser
from livepeer.client.wire import error_value
from livepeer.trickle import JSONLPublisher, JSONLSubscriber
from livepeer.trickle.exceptions import (
    CertificateError,
    ChannelClosed,
    ChannelNotFound,
    SegmentFailed,
    TrickleError,
)
from livepeer.trickle.transport import TLS

log = logging.getLogger("livepeer.client")

#: Nobody else writes them for a direct caller, and a pipeline without them ends by itself.
KEEP_ALIVE_SECONDS: Final = 10.0
#: How long a channel may be out of reach before the session counts as lost, in seconds.
OUTAGE: Final = 60.0
PAUSE: Final = 0.5
#: How long a pipeline may say nothing before it counts as dead, in seconds. An orchestrator tells
#: nobody of a container that died; a gateway ends such a stream 30 to 40 s after its last event.
SILENCE = 40.0
#: Events that a slow reader may be behind before the oldest are dropped.
EVENTS_KEPT: Final = 1000
#: How long records may still come once the stream is over, in seconds since the last one.
DRAIN: Final = 1.0

GONE: Final = "the orchestrator no longer has the stream: it was stopped there, or restarted"
#: Reasons of a runner for an end in good order (specs/live.md); any other is a loss.
IN_ORDER: Final = frozenset({"the input ended", "it was stopped"})


def _loss(error: TrickleError, reached: float) -> str | None:
    """Why a session is lost with a channel that was `reached` last, None while that is not sure."""
    if isinstance(error, (ChannelNotFound, ChannelClosed)):
        return GONE
    if isinstance(error, CertificateError):
        return f"the orchestrator's certificate is not to be trusted: {error}"
    if time.monotonic() - reached > OUTAGE:
        return f"the orchestrator was out of reach for {OUTAGE:g} s"
    return None


class Control:
    """Writes the control channel: the keepalives of a direct caller, and the caller's messages."""

    def __init__(self, url: str, tls: TLS, ending: Ending) -> None:
        self._url, self._tls, self._ending = url, tls, ending
        self._publisher: JSONLPublisher | None = None
        self._lock = asyncio.Lock()
        self.reconnects = 0

    async def run(self) -> None:
        """Keep the session alive until it is over, or out of reach for too long."""
        reached = time.monotonic()
        while True:
            try:
                await self.send({"keep": "alive"})
                reached = time.monotonic()
                await asyncio.sleep(KEEP_ALIVE_SECONDS)
            except TrickleError as error:
                if why := _loss(error, reached):
                    self._ending.finish(why, lost=True)
                    return
                log.warning("a keepalive did not get through: %s", error)
                self.reconnects += 1
                await asyncio.sleep(PAUSE)

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; raises a `TrickleError` where it may not have arrived."""
        async with self._lock:
            try:
                if self._publisher is None:
                    publisher = JSONLPublisher(
                        self._url,
                        one_per_segment=True,
                        delete_on_close=False,
                        linger=0,
                        tls=self._tls,
                    )
                    await publisher.__aenter__()
                    self._publisher = publisher
                await self._publisher.write(dict(message))
            except SegmentFailed:
                raise
            except TrickleError:
                await self._drop()
                raise

    async def aclose(self) -> None:
        async with self._lock:
            await self._drop()

    async def _drop(self) -> None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.aclose()


class Events:
    """Reads the events channel: keeps the status, hands events out, notices the end."""

    def __init__(
        self, url: str, tls: TLS, known: Callable[[], Awaitable[bool]], ending: Ending
    ) -> None:
        self._url, self._tls, self._known, self._ending = url, tls, known, ending
        self._readers: list[EventReader] = []
        self._recent: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self.status: dict[str, Any] = {}
        self.last_error: str | None = None
        self._failing = False
        self.count = self.errors = self.reconnects = 0
        ending.listen(self.close)

    async def run(self) -> None:
        """Read until the channel ends, is out of reach for too long, or silent for too long."""
        reached = time.monotonic()
        start: Any = 0
        while True:
            silence = asyncio.timeout(SILENCE)
            try:
                async with (
                    JSONLSubscriber(self._url, start=start, tls=self._tls) as records,
                    silence,
                ):
                    async for record in records:
                        reached, start = time.monotonic(), "next"
                        silence.reschedule(asyncio.get_running_loop().time() + SILENCE)
                        self._take(record)
                        if self._ending.over:
                            return
                # After a restart it ends too: a channel that is not there any more looks the same.
                # The pipeline's own end leaves the control channel, which is the orchestrator's.
                gone = not await self._known()
                told = GONE if gone else "the pipeline ended the stream"
                self._ending.finish(self._why(told), lost=gone or self._failing)
                return
            except TrickleError as error:
                if why := _loss(error, reached):
                    self._ending.finish(self._why(why), lost=True)
                    return
                log.warning("the events of the stream are read again: %s", error)
                self.reconnects += 1
                await asyncio.sleep(PAUSE)
            except TimeoutError:
                told = f"the pipeline said nothing for {SILENCE:g} s: its container is gone"
                self._ending.finish(self._why(told), lost=True)
                return

    def reader(self) -> EventReader:
        """A reader of its own, from the events that came so far on."""
        reader = EventReader(self._recent)
        self._readers.append(reader)
        return reader

    def close(self) -> None:
        for reader in self._readers:
            reader.close()

    def _take(self, record: dict[str, Any]) -> None:
        inner = record.get("event")
        if "queue_event_type" in record and isinstance(inner, dict):
            record = inner  # the form in which an older runner wraps them
        self.count += 1
        kind = record.get("type")
        if kind == "status":
            self.status, self._failing = record, False
        elif kind == "error":
            self.errors, self._failing = self.errors + 1, True
            self.last_error = error_value(record).message or "an error without a message"
            log.warning("the pipeline reports: %s", self.last_error)
        self._recent.append(record)
        for reader in self._readers:
            reader.put(record)
        if kind == "stream_ended":
            # Its channels stay for a moment, for readers that are behind: there is nothing to come.
            reason = str(record.get("reason") or "")
            in_order = reason in IN_ORDER
            told = f"the pipeline ended the stream{f': {reason}' if reason else ''}"
            self._ending.finish(told if in_order else self._why(told), lost=not in_order)

    def _why(self, told: str) -> str:
        if self.last_error is None or self.last_error in told:
            return told
        return f"{told} (its last error: {self.last_error})"


class EventReader:
    """An asynchronous iterator of events; one that is too slow loses the oldest."""

    def __init__(self, first: deque[dict[str, Any]]) -> None:
        self._waiting: deque[dict[str, Any]] = deque(first, maxlen=EVENTS_KEPT)
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, event: dict[str, Any]) -> None:
        self._waiting.append(event)
        self._changed.set()

    def close(self) -> None:
        self._closed = True
        self._changed.set()

    async def aclose(self) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.popleft()


async def records(url: str, tls: TLS, ending: Ending) -> AsyncGenerator[dict[str, Any]]:
    """The records of a data channel, until the session is over and the last one is read.

    An orchestrator sweeps a channel that is quiet for five minutes, while the stream lives: its
    404 is silence, and no end.
    """
    start: Any = 0
    while True:
        try:
            async with JSONLSubscriber(url, start=start, tls=tls) as found:
                async with contextlib.aclosing(_until(found, ending)) as each:
                    async for record in each:
                        yield record
                        start = "next"
            # It ended, which a sweep looks like too: events and control tell about the stream.
        except ChannelNotFound:
            pass
        except TrickleError as failure:
            log.warning("the data of the stream is read again: %s", failure)
        if ending.over:
            break
        start = "current" if start == "next" else start
        await _first(asyncio.ensure_future(asyncio.sleep(PAUSE)), ending)
    if (error := ending.error()) is not None:
        raise error


async def _until(found: JSONLSubscriber, ending: Ending) -> AsyncGenerator[dict[str, Any]]:
    """Its records; once the session is over only those that are still on their way."""
    while True:
        reading = asyncio.ensure_future(anext(found, None))
        if (record := await _first(reading, ending, DRAIN)) is None:
            return
        yield record


async def records_by_gateway(
    response: aiohttp.ClientResponse, ending: Ending
) -> AsyncGenerator[dict[str, Any]]:
    """The same by a gateway: an event for each record, empty ones for empty lines; its last event
    is ill-formed, and simply the end."""
    parser = Parser()
    try:
        while chunk := await _first(
            asyncio.ensure_future(response.content.readany()), ending, DRAIN
        ):
            for event in parser.feed(chunk):
                if event.data:
                    yield event.json()
    except aiohttp.ClientError as error:
        raise ConnectionFailedError("the gateway ended the data in the middle") from error
    finally:
        response.close()


async def _first(reading: asyncio.Future[Any], ending: Ending, grace: float = 0.0) -> Any:
    """What is read, or None where the session was over `grace` seconds before that."""
    waiting = asyncio.ensure_future(ending.wait())
    try:
        await asyncio.wait((reading, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not reading.done() and grace:
            await asyncio.wait((reading,), timeout=grace)
        return reading.result() if reading.done() else None
    finally:
        for task in (reading, waiting):
            task.cancel()
        await asyncio.wait((reading, waiting))
