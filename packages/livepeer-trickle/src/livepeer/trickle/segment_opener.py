"""What a publisher does between segments: `SegmentOpener`."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from livepeer.trickle.exceptions import (
    CertificateError,
    ChannelClosed,
    ProtocolError,
    TrickleConnectionError,
    TrickleError,
    TrickleTimeout,
    public_url,
)
from livepeer.trickle.http.exchange import ShortReply
from livepeer.trickle.http.transport import Transport
from livepeer.trickle.http.upload import Upload
from livepeer.trickle.protocol import wire
from livepeer.trickle.protocol.publish_state import Action, PublishState, Rule, Stage
from livepeer.trickle.protocol.retry import Backoff
from livepeer.trickle.protocol.wire import Answer
from livepeer.trickle.types import TLS, PublisherStats, Timeouts

if TYPE_CHECKING:
    from livepeer.trickle.segment import SegmentWriter


logger = logging.getLogger(__name__)


class SegmentOpener:
    """Makes the channel, learns its next number, keeps one segment open ahead, deletes the channel.

    `unsettled` are the segments that wait for their answer: a segment that resets what was left
    open is not opened before they have it, lest it ends them too.
    """

    def __init__(
        self,
        url: str,
        state: PublishState,
        *,
        mime_type: str,
        timeouts: Timeouts,
        tls: TLS,
        stats: PublisherStats,
        unsettled: deque[SegmentWriter],
    ) -> None:
        self.url = url
        self.mime_type = mime_type
        self.timeouts = timeouts
        self.stats = stats
        self.state = state
        self.backoff = Backoff(timeouts.outage)
        self.transport: Transport | None = None
        self.idle: tuple[int, Upload] | None = None
        self.connected = False
        """Whether the server ever took a segment's headers."""
        self._tls = tls
        self._unsettled = unsettled

    async def open(self) -> None:
        """Reach an open, idle segment, for `take`."""
        while True:
            if self.state.closed or self.transport is None:
                raise ChannelClosed("the channel was closed", url=self.url)
            if self.state.stage is not None:
                await self._prepare(self.state.stage)
                continue
            while self.idle is None and self.state.reset and self._unsettled:
                await self._unsettled[0]._settled_or_given_up()
            if self.idle is None:
                self.open_ahead()
                continue
            seq, upload = self.idle
            await upload.opened()
            if not upload.over:
                self.connected = True
                return
            self.idle = None
            await self.refused(seq, upload)

    def take(self) -> tuple[int, Upload]:
        """The idle segment, which is the caller's now."""
        assert self.idle is not None
        idle, self.idle = self.idle, None
        return idle

    def open_ahead(self) -> None:
        """Open the next segment, if the state allows and none is open; nothing is waited for."""
        state, transport = self.state, self.transport
        if self.idle is not None or transport is None or state.stage is not None or state.closed:
            return
        if state.reset and self._unsettled:
            return
        seq, headers = state.open()
        headers[wire.CONTENT_TYPE] = self.mime_type
        self.idle = (
            seq,
            transport.upload(
                wire.segment_url(self.url, seq),
                headers=headers,
                tls=self._tls,
                connect=self.timeouts.connect,
            ),
        )

    def withdraw(self) -> None:
        """Give up the idle segment: the next one has to say `Lp-Trickle-Reset`."""
        idle, self.idle = self.idle, None
        if idle is not None:
            idle[1].abort()
            self.state.withdraw(idle[0])

    async def _prepare(self, stage: Stage) -> None:
        """Make the channel, or ask for the next number; returns after an answer or a pause."""
        headers: dict[str, str] = {}
        if stage is Stage.CREATE:
            method, url, headers[wire.EXPECT_CONTENT] = "POST", self.url, self.mime_type
        else:
            method, url = "GET", wire.next_url(self.url)
        answer, reply, error = await self._request(method, url, headers)
        told = reply.trickle.latest if reply else None
        if reply and told is None:
            told = wire.parse_sequence(reply.text.strip())
        rule = self.state.answered(stage, answer, next_seq=told)
        if rule.action is Action.FAIL:
            raise self._failure(rule, reply, error, None)
        if rule.action in (Action.AGAIN, Action.CREATE):
            await self._pause(rule, reply, error, None)

    async def _request(
        self, method: str, url: str, headers: dict[str, str]
    ) -> tuple[Answer, ShortReply | None, TrickleError | None]:
        assert self.transport is not None
        try:
            reply = await self.transport.request(
                method,
                url,
                headers=headers,
                tls=self._tls,
                connect=self.timeouts.connect,
                limit=self.timeouts.answer,
            )
        except (CertificateError, ProtocolError):
            raise
        except TrickleTimeout as error:
            return Answer.SILENT, None, error
        except TrickleError as error:
            return Answer.LOST, None, error
        return reply.answer, reply, None

    async def refused(self, seq: int, upload: Upload) -> None:
        """An idle segment was answered, or its connection was lost, before a byte of it left."""
        reply: ShortReply | None = None
        error: TrickleError | None = None
        try:
            reply = upload.reply()
            answer = reply.answer
        except (CertificateError, ProtocolError):
            raise
        except TrickleError as lost:
            answer, error = Answer.LOST, lost
        rule = self.state.answered(Stage.IDLE, answer, seq=seq)
        if rule.action is Action.FAIL:
            raise self._failure(rule, reply, error, seq)
        if rule.action is Action.AGAIN:
            self.stats.reconnects += 1
        else:
            self.stats.resyncs += 1
        # A first resync costs nothing; only a server that goes on refusing makes pauses.
        await self._pause(rule, reply, error, seq)

    async def _pause(
        self, rule: Rule, reply: ShortReply | None, error: TrickleError | None, seq: int | None
    ) -> None:
        delay = self.backoff.next(asyncio.get_running_loop().time())
        if delay is None:
            raise self._failure(rule, reply, error, seq)
        if rule.action is Action.AGAIN or self.backoff.attempt > 1:
            await asyncio.sleep(delay)

    def _failure(
        self, rule: Rule, reply: ShortReply | None, error: TrickleError | None, seq: int | None
    ) -> TrickleError:
        why = rule.why
        kind = rule.error or TrickleConnectionError
        if rule.action is not Action.FAIL:
            why = f"no segment could be opened for {self.timeouts.outage:g} s"
        elif _is_missing(reply) and not self.state.create:
            why += "; make it on the server, or with TricklePublisher(url, create=True)"
        told = f": {reply}" if reply else f": {error.message}" if error else ""
        failure = kind(why + told, url=self.url, seq=seq, attempt=self.backoff.attempt or 1)
        failure.__cause__ = error
        return failure

    async def delete(self) -> None:
        """Delete the channel; what the server has against it is logged."""
        backoff = Backoff(min(3.0, self.timeouts.outage))
        shown = public_url(self.url)
        while True:
            try:
                answer, reply, error = await self._request("DELETE", self.url, {})
            except TrickleError as failure:  # what answers now is somebody else
                logger.warning("the channel %s could not be deleted: %s", shown, failure.message)
                return
            rule = self.state.answered(Stage.DELETE, answer)
            if rule.action is Action.GO_ON:
                return
            delay = None
            if rule.action is Action.AGAIN:
                delay = backoff.next(asyncio.get_running_loop().time())
            if delay is None:
                logger.warning("the channel %s could not be deleted: %s", shown, reply or error)
                return
            await asyncio.sleep(delay)


def _is_missing(reply: ShortReply | None) -> bool:
    return reply is not None and reply.answer is Answer.NOT_FOUND
