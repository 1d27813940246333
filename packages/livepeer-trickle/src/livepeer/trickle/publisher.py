"""Writing a channel: `TricklePublisher`."""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from livepeer.trickle.exceptions import (
    ChannelClosed,
    public_url,
)
from livepeer.trickle.http.exchange import ShortReply
from livepeer.trickle.http.transport import Transport
from livepeer.trickle.protocol import wire
from livepeer.trickle.protocol.publish_state import Action, PublishState, Rule, Stage
from livepeer.trickle.protocol.wire import Answer
from livepeer.trickle.segment import SegmentWriter
from livepeer.trickle.segment_opener import SegmentOpener
from livepeer.trickle.types import DEFAULT_TIMEOUTS, TLS, PublisherStats, Timeouts

if TYPE_CHECKING:
    from typing import Self


logger = logging.getLogger(__name__)

_MAX_UNACKNOWLEDGED = 2
"""Segments that may wait for their answer while another is written."""


class TricklePublisher:
    """Writes segments to a channel, one at a time, the next one connected ahead.

    ::

        async with TricklePublisher(url) as publisher:
            async with publisher.segment() as segment:
                await segment.write(b"...")

    Delivery is at most once: a segment whose connection broke is counted in `stats.uncertain` and
    never sent again; the publisher goes on with a new one. Numbers go on where an earlier publisher
    of the channel left them, and what that one left open is ended.

    Args:
        url: of the channel.
        mime_type: of the content.
        create: make the channel first. go-livepeer's orchestrators make their channels themselves
            and refuse.
        delete_on_close: end the channel on close, so that its readers end. Without it they wait for
            another publisher.
        linger: seconds between the last byte and the deletion, for readers one segment behind.
        timeouts: limits of the single waits.
        session: a pool of connections to use; one is shared for each event loop if None.
        tls: True verifies, False does not, or a context, or a `Pin`.

    Raises, when it connects and when a segment is opened:
        ChannelNotFound: there is no such channel, and `create` is off.
        ChannelClosed: it was deleted.
        ChannelRefused: the server does not let this client write it, or make it.
        ProtocolError: what answers is no trickle channel.
        TrickleConnectionError: the server was away for longer than `timeouts.outage`.
    """

    def __init__(
        self,
        url: str,
        *,
        mime_type: str = wire.DEFAULT_MIME_TYPE,
        create: bool = False,
        delete_on_close: bool = True,
        linger: float = 1.0,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        session: Transport | None = None,
        tls: TLS = True,
    ) -> None:
        if not linger >= 0:
            raise ValueError(f"linger is seconds from 0, not {linger!r}")
        self.url = wire.check_channel_url(url)
        self.mime_type = mime_type
        self.delete_on_close = delete_on_close
        self.linger = linger
        self.timeouts = timeouts
        self.stats = PublisherStats()
        self._given = session
        self._segment: SegmentWriter | None = None
        self._unsettled: deque[SegmentWriter] = deque()
        self._state = PublishState(create=create)
        self._opener = SegmentOpener(
            self.url,
            self._state,
            mime_type=mime_type,
            timeouts=timeouts,
            tls=tls,
            stats=self.stats,
            unsettled=self._unsettled,
        )
        self._closed = False
        self._nobody_behind = asyncio.Event()

    def __repr__(self) -> str:
        return f"<TricklePublisher {public_url(self.url)} next={self._state.seq}>"

    async def __aenter__(self) -> Self:
        try:
            await self._connect()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def segment(self) -> SegmentWriter:
        """The next segment, to be used with `async with`. One at a time."""
        return SegmentWriter(self)

    async def write(self, data: bytes | bytearray | memoryview) -> SegmentWriter:
        """Write `data` as one whole segment, which is returned: `acknowledged()` waits for it.

        Raises: as `SegmentWriter.write`.
        """
        async with self.segment() as segment:
            await segment._write(data, end=True)
        return segment

    def skip_linger(self) -> None:
        """Delete the channel without waiting for readers, also where `aclose` waits already."""
        self._nobody_behind.set()

    async def aclose(self) -> None:
        """End the open segment, wait until all are acknowledged, linger, delete the channel.

        Never raises for what the server does, or for its absence (that is logged). Safe to call
        again.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._segment is not None:
                self._segment._end()
            for segment in tuple(self._unsettled):
                await segment._settled_or_given_up()
            if self.delete_on_close and self._opener.connected and not self._state.closed:
                if self.stats.segments or self.stats.uncertain:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self.linger):
                            await self._nobody_behind.wait()
                await self._opener.delete()
        finally:
            await self._leave()

    def __del__(self) -> None:
        opener = getattr(self, "_opener", None)
        if opener is not None and opener.transport is not None:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            idle = opener.idle
            Transport.forget(opener.transport, [] if idle is None else [idle[1]])

    async def _connect(self) -> None:
        """Reach an open, idle segment."""
        if self._closed:
            raise ChannelClosed("this publisher is closed", url=self.url)
        if self._opener.transport is None:
            self._opener.transport = Transport.lease(self._given)
        await self._opener.open()

    async def _leave(self) -> None:
        opener = self._opener
        idle, opener.idle = opener.idle, None
        transport, opener.transport = opener.transport, None
        if idle is not None:
            idle[1].abort()
        for segment in tuple(self._unsettled):
            segment._abort()
        try:
            if idle is not None:
                await idle[1].aclose()
        finally:
            if transport is not None:
                await Transport.release(transport)

    # --- called by the segment -------------------------------------------------------------------

    @property
    def _limits(self) -> tuple[float, float]:
        return self.timeouts.write, self.timeouts.answer

    async def _begin(self, segment: SegmentWriter) -> None:
        if self._segment is not None:
            raise RuntimeError(
                f"segment {self._segment.seq} is still open: end it before opening the next"
            )
        self._segment = segment
        try:
            await self._connect()
        except BaseException:
            self._segment = None
            raise
        segment._bind(*self._opener.take())

    async def _turn(self, segment: SegmentWriter) -> None:
        """Wait until `segment` may send its first byte; see `ORDER_SETTLES`."""
        queue = self._unsettled
        while queue and len(queue) >= _MAX_UNACKNOWLEDGED:
            await queue[0]._settled_or_given_up()
        if queue:
            previous = queue[-1]
            while not previous.done:
                wait = self._state.settles_in(time.monotonic() - previous._begun_at)
                if wait <= 0:
                    break
                await previous._wait(wait)
        # Its number may have been closed, or its connection lost, while nothing was written.
        while True:
            if segment._upload is None:
                await self._connect()
                segment._bind(*self._opener.take())
            upload = segment._upload
            assert upload is not None
            await upload.opened()
            if upload.over:
                segment._unbind()
                await self._opener.refused(segment.seq, upload)
            elif self._state.reset:
                # The one before was cut after this one was opened: this one has to end it.
                segment._unbind()
                upload.abort()
                self._opener.withdraw()
                self._state.withdraw(segment.seq)
            else:
                return

    def _begun(self, segment: SegmentWriter) -> None:
        if not self._closed:
            self._opener.open_ahead()

    def _left(self, segment: SegmentWriter) -> None:
        self.stats.bytes += segment.bytes_written
        if self._segment is segment:
            self._segment = None
        if segment._upload is not None and not segment.done:
            self._unsettled.append(segment)

    def _settled(self, segment: SegmentWriter, answer: Answer, reply: ShortReply | None) -> Rule:
        rule = self._state.answered(segment._reached, answer, seq=segment.seq)
        if rule.action is Action.ACKNOWLEDGED:
            self._opener.backoff.reset()
            self.stats.segments += 1
            now = time.monotonic()
            self.stats.latency = now - (segment._ended_at or now)
        elif segment._stage is not Stage.IDLE:
            self.stats.uncertain += 1
            if time.monotonic() - segment._begun_at > self.timeouts.outage:
                # What carried it for so long was no outage: the next failure begins a new series.
                self._opener.backoff.reset()
            self._opener.withdraw()
        try:
            self._unsettled.remove(segment)
        except ValueError:
            pass
        return rule
