"""The segments that a publisher writes: `SegmentPost` is one, `SegmentQueue` their order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from livepeer.trickle.channel import PublishedChannel
from livepeer.trickle.exceptions import (
    ChannelClosed,
    SegmentFailed,
    TrickleConnectionError,
    TrickleError,
    TrickleTimeout,
)
from livepeer.trickle.http.exchange import ShortReply
from livepeer.trickle.http.upload import Upload
from livepeer.trickle.protocol.publish_state import (
    SEGMENT,
    PublishAction,
    PublishRule,
    PublishStage,
    SegmentEvent,
)
from livepeer.trickle.protocol.wire import Answer

logger = logging.getLogger(__name__)

_MAX_UNACKNOWLEDGED: Final = 2
"""Segments that may wait for their answer while another is written."""

_LAST: Final = (PublishStage.UNUSED, PublishStage.ACKNOWLEDGED, PublishStage.CUT)


class SegmentPost:
    """The POST of one segment: it owns the number, the upload and the stage.

    `judge` looks its answer up and counts it.
    """

    def __init__(
        self, seq: int, upload: Upload, judge: Callable[[SegmentPost, Answer], PublishRule]
    ) -> None:
        self.seq = seq
        self.upload = upload
        self.stage = PublishStage.IDLE
        self.error: TrickleError | None = None
        """Why the server did not acknowledge it, and never will."""
        self.begun_at = 0.0
        """When its first byte left, or its end, by `time.monotonic`; 0 before."""
        self.ended_at = 0.0
        """When it was ended; 0 before."""
        self._judge = judge
        self._timer: asyncio.TimerHandle | None = None
        self._on_done: Callable[[], object] | None = None
        upload.on_over(self._on_over)

    @property
    def done(self) -> bool:
        """Whether the server has answered, or never will."""
        return self.stage in _LAST

    def on_done(self, callback: Callable[[], object]) -> None:
        """Call `callback` when it is done."""
        self._on_done = callback

    async def write(
        self, data: bytes | bytearray | memoryview, *, limit: float, end: bool = False
    ) -> None:
        """Send `data`, and the end if `end`. A failure is kept in `error`."""
        if self.stage is PublishStage.IDLE:
            self._move(SegmentEvent.BYTES)
            self.begun_at = time.monotonic()
        try:
            await self.upload.write(data, limit=limit, end=end)
        except TrickleTimeout as error:
            self._settle(Answer.SILENT, None, error)
        except TrickleConnectionError as error:
            if self.upload.over:
                self._read_answer()
            else:
                self.upload.abort()
                self._settle(Answer.LOST, None, error)

    def end(self, limit: float) -> None:
        """End the body without waiting; the answer may take `limit` seconds."""
        if self.stage is PublishStage.IDLE and self.upload.over:
            # It was refused and then given up: nothing of it ever left, so nothing is uncertain.
            self._read_answer()
        if self.stage is PublishStage.UNUSED:
            self.error = self.error or SegmentFailed("it was never begun", seq=self.seq)
        if self.done:
            return
        self.ended_at = time.monotonic()
        self.begun_at = self.begun_at or self.ended_at
        self._timer = asyncio.get_running_loop().call_later(limit, self.upload.abort)
        self._move(SegmentEvent.END)
        self.upload.end()

    def give_up(self) -> None:
        """Its number was lost, or is not wanted, before its first byte."""
        self._on_done = None
        self._move(SegmentEvent.GIVE_UP)

    async def settled(self) -> None:
        """Wait until it is done: its timer gives it up when no answer comes."""
        if not self.done:
            await self.upload.wait()
            self._read_answer()

    def _move(self, event: SegmentEvent) -> None:
        self.stage = SEGMENT[self.stage, event]

    def _on_over(self) -> None:
        # Before its first byte the queue looks, and may open another number in its place.
        if self.stage is not PublishStage.IDLE:
            self._read_answer()

    def _read_answer(self) -> None:
        if self.done:
            return
        try:
            reply = self.upload.reply()
        except TrickleTimeout as error:
            self._settle(Answer.SILENT, None, error)
        except TrickleError as error:
            self._settle(Answer.LOST, None, error)
        else:
            self._settle(reply.answer, reply, None)

    def _settle(self, answer: Answer, reply: ShortReply | None, cause: TrickleError | None) -> None:
        if self.done:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.stage is PublishStage.FLOWING and self.upload.whole:
            self._move(SegmentEvent.END)  # a whole segment, while `write` waits for the network
        rule = self._judge(self, answer)
        if rule.action is PublishAction.ACKNOWLEDGED:
            self._move(SegmentEvent.ACKNOWLEDGE)
        else:
            idle = self.stage is PublishStage.IDLE
            self._move(SegmentEvent.GIVE_UP if idle else SegmentEvent.CUT)
            told = str(reply) if reply else cause.message if cause else answer.value
            kind = rule.error or SegmentFailed
            self.error = kind(f"{rule.why}: {told}", url=self.upload.url, seq=self.seq)
            self.error.__cause__ = cause
            if self.ended_at and not isinstance(self.error, ChannelClosed):
                logger.warning("segment %s of %s is uncertain: %s", self.seq, self.upload.url, told)
        on_done, self._on_done = self._on_done, None  # or writer and post would hold each other
        if on_done is not None:
            on_done()


class SegmentQueue:
    """The segments of one channel in their order: opened ahead, begun in turn, settled.

    A segment that resets what was left open is not opened before those that wait for their answer
    have it, lest it ends them too.
    """

    def __init__(self, channel: PublishedChannel) -> None:
        self.ahead: SegmentPost | None = None
        """The next segment, open and idle."""
        self.connected = False
        """Whether the server ever took a segment's headers."""
        self.closed = False
        self._channel = channel
        self._state = channel.state
        self._unsettled: deque[SegmentPost] = deque()

    async def take(self) -> SegmentPost:
        """The next segment, open and idle; it is the caller's now."""
        await self.connect()
        assert self.ahead is not None
        post, self.ahead = self.ahead, None
        return post

    async def connect(self) -> None:
        """Reach an open, idle segment."""
        channel, state = self._channel, self._state
        if self.closed:
            raise ChannelClosed("this publisher is closed", url=channel.url)
        channel.lease()
        while True:
            if state.closed or not channel.leased:
                raise ChannelClosed("the channel was closed", url=channel.url)
            if state.stage is not None:
                await channel.prepare(state.stage)
                continue
            while self.ahead is None and state.reset and self._unsettled:
                await self._unsettled[0].settled()
            if self.ahead is None:
                self.open_ahead()
                continue
            post = self.ahead
            await post.upload.opened()
            if not post.upload.over:
                self.connected = True
                return
            if self.ahead is not post:
                continue  # withdrawn meanwhile: its number is to be had again
            self.ahead = None
            post.give_up()
            await channel.refused(post.seq, post.upload)

    def open_ahead(self) -> None:
        """Open the next segment, if the state allows and none is open; nothing is waited for."""
        state = self._state
        if self.closed or self.ahead is not None or not self._channel.leased:
            return
        if state.stage is not None or state.closed or (state.reset and self._unsettled):
            return
        self.ahead = SegmentPost(*self._channel.open_segment(), self._settled)

    async def turn(self) -> None:
        """Wait until the next segment may send its first byte; see `ORDER_SETTLES`."""
        queue = self._unsettled
        while queue and len(queue) >= _MAX_UNACKNOWLEDGED:
            await queue[0].settled()
        if queue:
            previous = queue[-1]
            while not previous.done:
                wait = self._state.settles_in(time.monotonic() - previous.begun_at)
                if wait <= 0:
                    break
                await previous.upload.wait(wait)

    async def is_usable(self, post: SegmentPost) -> bool:
        """Whether the idle `post` can be written; False if another has to be taken for it.

        Its number may have been closed, or its connection lost, while nothing was written.
        """
        await post.upload.opened()
        if post.done:
            return False
        if post.upload.over:
            post.give_up()
            await self._channel.refused(post.seq, post.upload)
            return False
        if self._state.reset:
            # The one before was cut after this one was opened: this one has to end it.
            post.give_up()
            post.upload.abort()
            self._withdraw()
            self._state.withdraw(post.seq)
            return False
        return True

    def left(self, post: SegmentPost) -> None:
        """`post` was ended: its answer is waited for."""
        self._channel.stats.bytes += post.upload.handed
        if not post.done:
            self._unsettled.append(post)

    def stop(self) -> None:
        """Open no further segment."""
        self.closed = True

    async def settle(self) -> None:
        """Wait until every segment that was ended is done."""
        for post in tuple(self._unsettled):
            await post.settled()

    async def aclose(self) -> None:
        """Give up the segments that are open or not answered, and the connections."""
        ahead, self.ahead = self.ahead, None
        if ahead is not None:
            ahead.upload.abort()
        for post in tuple(self._unsettled):
            post.upload.abort()
        try:
            if ahead is not None:
                await ahead.upload.aclose()
        finally:
            await self._channel.release()

    def _withdraw(self) -> None:
        """Give up the segment ahead: the next one has to say `Lp-Trickle-Reset`."""
        ahead, self.ahead = self.ahead, None
        if ahead is not None:
            ahead.give_up()
            ahead.upload.abort()
            self._state.withdraw(ahead.seq)

    def _settled(self, post: SegmentPost, answer: Answer) -> PublishRule:
        """Look the answer of `post` up and count it."""
        channel = self._channel
        rule = self._state.answered(post.stage, answer, seq=post.seq)
        now = time.monotonic()
        if rule.action is PublishAction.ACKNOWLEDGED:
            channel.backoff.reset()
            channel.stats.segments += 1
            channel.stats.latency = now - (post.ended_at or now)
        elif post.stage is not PublishStage.IDLE:
            channel.stats.uncertain += 1
            if now - post.begun_at > channel.timeouts.outage:
                # What carried it for so long was no outage: the next failure begins a new series.
                channel.backoff.reset()
            self._withdraw()
        with suppress(ValueError):
            self._unsettled.remove(post)
        return rule
