"""The channels of a live session that carry a caller's JSON: control and data."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final

from livepeer.client.exceptions import (
    ConfigurationError,
    ConnectionFailedError,
    ProtocolError,
)
from livepeer.client.live.ending import Ending
from livepeer.client.live.outage import Outage, Seldom
from livepeer.client.protocol.sse import EventParser
from livepeer.client.types import StreamEvent
from livepeer.trickle import JSONLPublisher, JSONLSubscriber, Timeouts
from livepeer.trickle.exceptions import (
    ChannelClosed,
    ChannelNotFound,
    SegmentFailed,
    TrickleError,
)
from livepeer.trickle.http.call import HTTPCall
from livepeer.trickle.types import TLS

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS: Final = 10.0
"""Nobody else writes them for a direct caller, and a pipeline without them ends by itself."""
_UNTIL_THE_END: Final = Timeouts(outage=math.inf)
"""The session's end is the only limit: who has waited reads on from the byte where it was."""
DRAIN: Final = 1.0
"""How long records may still come once the stream is over, in seconds since the last one."""
RECORD_LIMIT: Final = 1 << 20
"""Letters of one record by a gateway; a pipeline's own are 64 KiB at most."""


def control_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """The form in which a runner tells a message for `on_control` from parameters (specs/live.md).

    Raises `ConfigurationError` where it is no mapping."""
    if not isinstance(message, Mapping):
        raise ConfigurationError(f"a control message is a dict, not {type(message).__name__}")
    return {"type": "control", "message": dict(message)}


class Control:
    """Writes the control channel: the keepalives of a direct caller, and the caller's messages."""

    def __init__(self, url: str, tls: TLS, ending: Ending) -> None:
        self.outage = Outage("a keepalive did not get through", ending)
        self._url, self._tls = url, tls
        self._publisher: JSONLPublisher | None = None
        self._fresh = True
        """Nobody wrote it yet: the orchestrator made it for this session."""
        self._lock = asyncio.Lock()
        self._closed = False

    async def run(self) -> None:
        """Keep the session alive until it is over, or out of reach for too long."""
        while True:
            try:
                await self.send({"keep": "alive"})
                self.outage.reached()
                await asyncio.sleep(KEEP_ALIVE_SECONDS)
            except TrickleError as error:
                if self.outage.lost(error):
                    return
                await self.outage.pause()

    async def say(self, message: Mapping[str, Any], *, raw: bool) -> None:
        """Send a message for `on_control`; `raw`: as it is. Raises as `send` does."""
        await self.send(message if raw else control_message(message))

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; raises a `TrickleError` where it may not have arrived."""
        async with self._lock:
            try:
                publisher = self._publisher or await self._opened()
                await publisher.write(dict(message))
            except SegmentFailed:
                raise
            except TrickleError:
                await self._drop()
                raise

    async def aclose(self) -> None:
        """Close it. A message that somebody sends meanwhile is not waited for longer than its
        publisher takes to close."""
        self._closed = True
        await self._drop()

    def _check(self) -> None:
        if self._closed:
            raise ChannelClosed("the session was left", url=self._url)

    async def _opened(self) -> JSONLPublisher:
        self._check()
        fresh, self._fresh = self._fresh, False
        publisher = JSONLPublisher(
            self._url,
            one_per_segment=True,
            fresh=fresh,
            delete_on_close=False,
            linger=0,
            tls=self._tls,
        )
        await publisher.__aenter__()
        self._publisher = publisher
        self._check()
        return publisher

    async def _drop(self) -> None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            await publisher.aclose()


async def records(url: str, tls: TLS, ending: Ending) -> AsyncGenerator[dict[str, Any]]:
    """The records of a data channel, until the session is over and the last one is read.

    An orchestrator sweeps a channel that is quiet for five minutes, while the stream lives: its
    404 is silence, and no end.
    """
    start = 0
    outage = Outage("the data of the stream is read again", ending, limit=math.inf)
    while True:
        found = JSONLSubscriber(url, start=start, tls=tls, timeouts=_UNTIL_THE_END)
        try:
            async with found:
                async with contextlib.aclosing(_until(found, ending)) as each:
                    async for record in each:
                        yield record
                        outage.reached()
            # It ended, which a sweep looks like too: events and control tell about the stream. One
            # that is made again begins with number 0.
            start = 0
            outage.reached()
        except ChannelNotFound:
            start = 0
            outage.reached()
        except TrickleError as error:
            outage.lost(error)
            # Never a record twice: not at "current", where a segment would be read from its start.
            start = found.transport.position or 0
        if ending.over:
            break
        await outage.pause()
    if (loss := ending.error()) is not None:
        raise loss


async def _until(found: JSONLSubscriber, ending: Ending) -> AsyncGenerator[dict[str, Any]]:
    """Its records; once the session is over only those that are still on their way."""
    while True:
        reading = asyncio.ensure_future(anext(found, None))
        if (record := await _first(reading, ending, DRAIN)) is None:
            return
        yield record


async def records_by_gateway(
    ask: Callable[[], Awaitable[HTTPCall]], ending: Ending
) -> AsyncGenerator[dict[str, Any]]:
    """The same by a gateway: an event for each record, empty ones for empty lines; its last event
    is ill-formed, and simply the end. The answer begins with the first record, whenever that is."""
    asking = asyncio.ensure_future(ask())
    try:
        response = await _first(asking, ending)
    except asyncio.CancelledError:
        if asking.done() and not asking.cancelled() and asking.exception() is None:
            asking.result().abort()  # it came as its reader left
        raise
    if response is None:
        return
    if response.status != 200:
        response.abort()
        raise ConnectionFailedError(
            f"the gateway has no data of the stream: it answered {response.status}",
            status=response.status,
            **ending.where,
        )
    parser, seldom = EventParser(limit=RECORD_LIMIT), Seldom()
    try:
        while chunk := await _first(asyncio.ensure_future(response.read(None)), ending, DRAIN):
            for event in parser.feed(chunk):
                record = _record(event)
                if record is not None:
                    yield record
                elif event.data:
                    logger.log(seldom.level(), "what is no JSON object is no record: passed over")
    except ProtocolError as error:
        raise ProtocolError(f"the gateway's data: {error.message}", **ending.where) from None
    except TrickleError as error:
        told = "the gateway ended the data in the middle"
        raise ConnectionFailedError(told, **ending.where) from error
    finally:
        response.abort()


def _record(event: StreamEvent) -> dict[str, Any] | None:
    try:
        value = event.json()
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


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
