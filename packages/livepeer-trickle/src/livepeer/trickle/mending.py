"""A segment whose bytes stopped, read on from where they did: `Mender`."""

from __future__ import annotations

import asyncio

from livepeer.trickle.exceptions import (
    CertificateError,
    ProtocolError,
    SegmentFailed,
    TrickleConnectionError,
    TrickleTimeout,
)
from livepeer.trickle.http.download import Download
from livepeer.trickle.http.transport import Transport
from livepeer.trickle.protocol import wire
from livepeer.trickle.protocol.retry import Backoff
from livepeer.trickle.protocol.subscribe_state import Action, Rule, Stage, SubscribeState
from livepeer.trickle.protocol.wire import Answer
from livepeer.trickle.types import TLS, SubscriberStats, Timeouts


class Mender:
    """Asks again for what is being read, and where the channel stands.

    Failures without a new byte between them are one outage, however far each new try got.
    """

    def __init__(
        self,
        url: str,
        state: SubscribeState,
        *,
        transport: Transport,
        timeouts: Timeouts,
        tls: TLS,
        stats: SubscriberStats,
    ) -> None:
        self._url = url
        self._state = state
        self._transport = transport
        self._timeouts = timeouts
        self._tls = tls
        self._stats = stats
        self._backoff = Backoff(timeouts.outage)
        self._pace = Backoff(None)
        self._breaks = 0
        self._tried = False

    @property
    def silence(self) -> float:
        """Seconds without a byte after which a reader asks what is the matter."""
        return self._timeouts.silence

    def begin(self) -> None:
        """A new segment: what fails now is another outage."""
        self._mended()
        self._pace.reset()
        self._breaks = 0

    def _mended(self) -> None:
        self._tried = False
        self._backoff.reset()

    def taken(self, size: int) -> None:
        """New bytes were handed out."""
        self._stats.bytes += size
        if self._tried:
            self._mended()

    async def recover(self, seq: int, size: int, answer: Answer) -> Download | None:
        """Mend segment `seq` after `size` bytes: a new answer to read it from, None to read on.

        Raises:
            SegmentFailed: the rest is not to be had. Where there is nobody to ask any more (another
                certificate, no HTTP), asking for the next segment tells.
        """
        rule = self._state.answered(Stage.READING, answer)
        if rule.action is Action.PROBE:
            probed, latest = await self.ask_next()
            rule = self._state.answered(Stage.PROBING, probed, latest=latest)
            if rule.action is Action.DELIVER:
                return None
        while rule.action is not Action.CUT:
            # The first time costs no pause: most breaks are one connection's. A server that breaks
            # off after each byte gets no request for each of them.
            self._breaks += 1
            if self._breaks > wire.RING:
                await asyncio.sleep(self._pace.next(0.0) or 0.0)
            if rule.action is Action.AGAIN or self._tried:
                delay = self._backoff.next(asyncio.get_running_loop().time())
                if delay is None:
                    why = f"the server was away for {self._timeouts.outage:g} s"
                    raise self.cut(seq, size, why)
                await asyncio.sleep(delay)
            self._tried = True
            self._stats.reconnects += 1
            rule, download = await self._resume(seq)
            if download is not None:
                return download
        raise self.cut(seq, size, rule.why)

    async def _resume(self, seq: int) -> tuple[Rule, Download | None]:
        """Ask again for the segment that is being read."""
        url = wire.segment_url(self._url, seq)
        download = self._transport.download(url, tls=self._tls, connect=self._timeouts.connect)
        try:
            news = await download.wait(self._timeouts.silence)
        except BaseException:
            download.abort()
            raise
        if not news or download.parser.head is None:
            download.abort()
            if isinstance(download.error, CertificateError | ProtocolError):
                return Rule(Action.CUT, download.error.message), None
            answer = Answer.LOST if news else Answer.SILENT
            return self._state.answered(Stage.RESUMING, answer), None
        rule = self._state.answered(Stage.RESUMING, download.answer, seq=download.trickle.seq)
        if rule.action is Action.DELIVER:
            return rule, download
        download.abort()
        return rule, None

    async def ask_next(self) -> tuple[Answer, int | None]:
        """What became of asking for the next number, and that number."""
        try:
            reply = await self._transport.request(
                "GET",
                wire.next_url(self._url),
                tls=self._tls,
                connect=self._timeouts.connect,
                limit=self._timeouts.answer,
            )
        except TrickleTimeout:
            return Answer.SILENT, None
        except (TrickleConnectionError, ProtocolError):
            return Answer.LOST, None
        return reply.answer, reply.trickle.latest

    def cut(self, seq: int, size: int, why: str) -> SegmentFailed:
        """The error to raise: the segment ends here, damaged."""
        self._stats.cut += 1
        return SegmentFailed(
            f"the segment broke off after {size} bytes: {why}", url=self._url, seq=seq
        )
