"""A channel as its clients see it: their connections, and the requests of a publisher about it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from livepeer.trickle.exceptions import (
    CertificateError,
    ChannelClosed,
    ProtocolError,
    TrickleConnectionError,
    TrickleError,
    TrickleTimeout,
    public_url,
)
from livepeer.trickle.http.exchange import HTTPExchange, ShortReply
from livepeer.trickle.http.transport import Transport
from livepeer.trickle.http.upload import Upload
from livepeer.trickle.protocol import wire
from livepeer.trickle.protocol.publish_state import (
    PublishAction,
    PublishRule,
    PublishStage,
    PublishState,
)
from livepeer.trickle.protocol.retry import Backoff
from livepeer.trickle.protocol.wire import Answer
from livepeer.trickle.types import TLS, PublisherStats, Timeouts

logger = logging.getLogger(__name__)


class ChannelClient:
    """The connections of one client to one channel, and the small requests that go over them."""

    def __init__(
        self, url: str, *, timeouts: Timeouts, transport: Transport | None, tls: TLS
    ) -> None:
        self.url = url
        self.timeouts = timeouts
        self._given = transport
        self._transport: Transport | None = None
        self._tls = tls

    @property
    def leased(self) -> bool:
        """Whether it has connections to give back."""
        return self._transport is not None

    @property
    def transport(self) -> Transport:
        """The connections. Raises `ChannelClosed` before `lease` and after `release`."""
        if self._transport is None:
            raise ChannelClosed("this client is closed", url=self.url)
        return self._transport

    def lease(self) -> None:
        """Take the caller's connections, or those that the event loop shares."""
        if self._transport is None:
            self._transport = Transport.lease(self._given)

    async def release(self) -> None:
        """Give the connections back."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await Transport.release(transport)

    def forget(self, exchanges: Sequence[HTTPExchange]) -> None:
        """`release` for a finalizer, in any thread; gives up `exchanges`."""
        if self._transport is not None:
            Transport.forget(self._transport, exchanges)

    async def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None
    ) -> tuple[Answer, ShortReply | None, TrickleError | None]:
        """Ask, and say what became of it.

        Raises `CertificateError` and `ProtocolError`: what answers is not the server.
        """
        try:
            reply = await self.transport.request(
                method,
                url,
                headers=headers,
                tls=self._tls,
                connect=self.timeouts.connect,
                limit=self.timeouts.answer,
            )
        except (CertificateError, ProtocolError, ChannelClosed):
            raise
        except TrickleTimeout as error:
            return Answer.SILENT, None, error
        except TrickleError as error:
            return Answer.LOST, None, error
        return reply.answer, reply, None

    def failure(
        self,
        kind: type[TrickleError] | None,
        why: str,
        told: object,
        cause: TrickleError | None,
        *,
        seq: int | None,
        attempt: int,
    ) -> TrickleError:
        """The error to raise: `why`, with the server's words (`told`) or the `cause`."""
        told = told or (cause and cause.message)
        text = f"{why}: {told}" if told else why
        failure = (kind or TrickleConnectionError)(
            text, url=self.url, seq=seq, attempt=attempt or 1
        )
        failure.__cause__ = cause
        return failure


class PublishedChannel(ChannelClient):
    """Makes the channel, learns its next number, opens the POSTs of segments, deletes the channel.

    It owns the numbers (`state`) and the pauses between tries.
    """

    def __init__(
        self,
        url: str,
        *,
        mime_type: str,
        create: bool,
        fresh: bool,
        timeouts: Timeouts,
        transport: Transport | None,
        tls: TLS,
    ) -> None:
        super().__init__(url, timeouts=timeouts, transport=transport, tls=tls)
        self.mime_type = mime_type
        self.stats = PublisherStats()
        self.state = PublishState(create=create, fresh=fresh)
        self.backoff = Backoff(timeouts.outage)

    def open_segment(self) -> tuple[int, Upload]:
        """Take the next number and open its POST; nothing is waited for."""
        seq, headers = self.state.open()
        headers[wire.CONTENT_TYPE] = self.mime_type
        upload = self.transport.upload(
            wire.segment_url(self.url, seq),
            headers=headers,
            tls=self._tls,
            connect=self.timeouts.connect,
        )
        return seq, upload

    async def prepare(self, stage: PublishStage) -> None:
        """Make the channel, or ask for the next number; returns after an answer or a pause."""
        headers: dict[str, str] = {}
        if stage is PublishStage.CREATE:
            method, url, headers[wire.EXPECT_CONTENT] = "POST", self.url, self.mime_type
        else:
            method, url = "GET", wire.next_url(self.url)
        answer, reply, error = await self.request(method, url, headers)
        told = reply.trickle.latest if reply else None
        if reply and told is None:
            told = wire.parse_sequence(reply.text.strip())
        rule = self.state.answered(stage, answer, next_seq=told)
        if rule.action is PublishAction.FAIL:
            raise self._failure(rule, reply, error, None)
        if rule.action in (PublishAction.AGAIN, PublishAction.CREATE):
            await self._pause(rule, reply, error, None)

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
        rule = self.state.answered(PublishStage.IDLE, answer, seq=seq)
        if rule.action is PublishAction.FAIL:
            raise self._failure(rule, reply, error, seq)
        if rule.action is PublishAction.AGAIN:
            self.stats.reconnects += 1
        else:
            self.stats.resyncs += 1
        # A first resync costs nothing; only a server that goes on refusing makes pauses.
        await self._pause(rule, reply, error, seq)

    async def delete(self) -> None:
        """Delete the channel; what the server has against it is logged."""
        backoff = Backoff(min(3.0, self.timeouts.outage))
        shown = public_url(self.url)
        while True:
            try:
                answer, reply, error = await self.request("DELETE", self.url, {})
            except TrickleError as failure:  # what answers now is somebody else
                logger.warning("the channel %s could not be deleted: %s", shown, failure.message)
                return
            rule = self.state.answered(PublishStage.DELETE, answer)
            if rule.action is PublishAction.GO_ON:
                return
            delay = None
            if rule.action is PublishAction.AGAIN:
                delay = backoff.next(asyncio.get_running_loop().time())
            if delay is None:
                logger.warning("the channel %s could not be deleted: %s", shown, reply or error)
                return
            await asyncio.sleep(delay)

    async def _pause(
        self,
        rule: PublishRule,
        reply: ShortReply | None,
        error: TrickleError | None,
        seq: int | None,
    ) -> None:
        delay = self.backoff.next(asyncio.get_running_loop().time())
        if delay is None:
            raise self._failure(rule, reply, error, seq)
        if rule.action is PublishAction.AGAIN or self.backoff.attempt > 1:
            await asyncio.sleep(delay)

    def _failure(
        self,
        rule: PublishRule,
        reply: ShortReply | None,
        error: TrickleError | None,
        seq: int | None,
    ) -> TrickleError:
        why = rule.why
        if rule.action is not PublishAction.FAIL:
            why = f"no segment could be opened for {self.timeouts.outage:g} s"
        elif reply is not None and reply.answer is Answer.NOT_FOUND and not self.state.create:
            why += "; make it on the server, or with TricklePublisher(url, create=True)"
        attempt = self.backoff.attempt
        return self.failure(rule.error, why, reply, error, seq=seq, attempt=attempt)
