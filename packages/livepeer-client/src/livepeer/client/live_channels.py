"""The channels of a live session that carry JSON: control, events and data."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final, Self

import aiohttp

from livepeer.client.exceptions import ConnectionFailedError, SessionEndedError
from livepeer.client.sse import Parser
from livepeer.client.wire import error_value
from livepeer.trickle.channels import JSONLPublisher, JSONLSubscriber
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

GONE: Final = "the orchestrator no longer has the stream: it was stopped there, or restarted"

#: Told how a session ended: why, and whether that was a loss.
Finish = Callable[[str, bool], None]


class Control:
    """Writes the control channel: the keepalives of a direct caller, and the caller's messages."""

    def __init__(self, url: str, tls: TLS, finish: Finish) -> None:
        self._url, self._tls, self._finish = url, tls, finish
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
            except (ChannelNotFound, ChannelClosed):
                self._finish(GONE, True)
                return
            except CertificateError as error:
                self._finish(f"the orchestrator's certificate is not to be trusted: {error}", True)
                return
            except TrickleError as error:
                if time.monotonic() - reached > OUTAGE:
                    self._finish(f"the orchestrator was out of reach for {OUTAGE:g} s", True)
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
        self, url: str, tls: TLS, known: Callable[[], Awaitable[bool]], finish: Finish
    ) -> None:
        self._url, self._tls, self._known, self._finish = url, tls, known, finish
        self._readers: list[EventReader] = []
        self._recent: deque[dict[str, Any]] = deque(maxlen=EVENTS_KEPT)
        self.status: dict[str, Any] = {}
        self.last_error: str | None = None
        self.reason: str | None = None
        self.count = self.errors = self.reconnects = 0

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
                # After a restart it ends too: a channel that is not there any more looks the same.
                # The pipeline's own end leaves the control channel, which is the orchestrator's.
                if await self._known():
                    told, lost = "the pipeline ended the stream", bool(self.last_error)
                    told += f": {self.reason}" if self.reason else ""
                else:
                    told, lost = GONE, True
                self._finish(self._why(told), lost)
                return
            except (ChannelNotFound, ChannelClosed):
                self._finish(self._why(GONE), True)
                return
            except CertificateError as error:
                self._finish(f"the orchestrator's certificate is not to be trusted: {error}", True)
                return
            except TrickleError as error:
                if time.monotonic() - reached > OUTAGE:
                    self._finish(f"the orchestrator was out of reach for {OUTAGE:g} s", True)
                    return
                log.warning("the events of the stream are read again: %s", error)
                self.reconnects += 1
                await asyncio.sleep(PAUSE)
            except TimeoutError:
                told = f"the pipeline said nothing for {SILENCE:g} s: its container is gone"
                self._finish(self._why(told), True)
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
        match record.get("type"):
            case "status":
                self.status = record
            case "stream_ended":
                self.reason = str(record.get("reason") or "") or None
            case "error":
                self.errors += 1
                self.last_error = error_value(record).message or "an error without a message"
                log.warning("the pipeline reports: %s", self.last_error)
        self._recent.append(record)
        for reader in self._readers:
            reader.put(record)

    def _why(self, told: str) -> str:
        return f"{told} (its last error: {self.last_error})" if self.last_error else told


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


async def records(
    url: str, tls: TLS, over: asyncio.Event, error: Callable[[], SessionEndedError | None]
) -> AsyncGenerator[dict[str, Any]]:
    """The records of a data channel, until the session is over.

    An orchestrator sweeps a channel that is quiet for five minutes, while the stream lives: its
    404 is silence, and no end.
    """
    start: Any = 0
    while not over.is_set():
        try:
            async with JSONLSubscriber(url, start=start, tls=tls) as found:
                reading = asyncio.ensure_future(anext(found, None))
                waiting = asyncio.ensure_future(over.wait())
                try:
                    while (record := await _first(reading, waiting)) is not None:
                        yield record
                        start = "next"
                        reading = asyncio.ensure_future(anext(found, None))
                finally:
                    for task in (reading, waiting):
                        task.cancel()
                    await asyncio.wait((reading, waiting))
            # It ended, which a sweep looks like too: events and control tell about the stream.
        except ChannelNotFound:
            pass
        except TrickleError as failure:
            log.warning("the data of the stream is read again: %s", failure)
        start = "current" if start == "next" else start
        await _within(over, PAUSE)
    if (ended := error()) is not None:
        raise ended


async def records_by_gateway(
    response: aiohttp.ClientResponse, over: asyncio.Event
) -> AsyncGenerator[dict[str, Any]]:
    """The same by a gateway: an event for each record, empty ones for empty lines; its last event
    is ill-formed, and simply the end."""
    parser = Parser()
    waiting = asyncio.ensure_future(over.wait())
    try:
        while chunk := await _first(asyncio.ensure_future(response.content.readany()), waiting):
            for event in parser.feed(chunk):
                if event.data:
                    yield event.json()
    except aiohttp.ClientError as error:
        raise ConnectionFailedError("the gateway ended the data in the middle") from error
    finally:
        waiting.cancel()
        response.close()


async def _first(reading: asyncio.Future[Any], waiting: asyncio.Future[Any]) -> Any:
    """What is read, or None where the session was over first."""
    try:
        await asyncio.wait((reading, waiting), return_when=asyncio.FIRST_COMPLETED)
        return reading.result() if reading.done() else None
    finally:
        reading.cancel()


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
