"""Reading a channel: `SubscribedChannel` asks for segments, `SegmentReader` reads one.

A segment whose bytes stop is asked for again and read on from where they did.
"""

from __future__ import annotations

import asyncio
from typing import Final

from livepeer.trickle.channel import ChannelClient
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
from livepeer.trickle.protocol.rule import Rule
from livepeer.trickle.protocol.subscribe_state import (
    SubscribeAction,
    SubscribeRule,
    SubscribeStage,
    SubscribeState,
)
from livepeer.trickle.protocol.wire import Answer
from livepeer.trickle.types import TLS, GapPolicy, Start, SubscriberStats, Timeouts

MAX_READ: Final = 256 * 1024 * 1024
"""Bytes that `SegmentReader.read` takes at most, unless told otherwise."""
_TAIL: Final = 64
"""Bytes compared where a reader resumes, so that another segment of the same number is noticed."""


class SubscribedChannel(ChannelClient):
    """Asks for the segments of a channel and for its next number; owns the cursor (`state`)."""

    def __init__(
        self,
        url: str,
        *,
        start: Start,
        on_gap: GapPolicy,
        timeouts: Timeouts,
        transport: Transport | None,
        tls: TLS,
    ) -> None:
        super().__init__(url, timeouts=timeouts, transport=transport, tls=tls)
        self.stats = SubscriberStats()
        self.state = SubscribeState(start, on_gap)

    def download(self, seq: int) -> Download:
        """Ask for a segment, without waiting for the answer."""
        url = wire.segment_url(self.url, seq)
        return self.transport.download(url, tls=self._tls, connect=self.timeouts.connect)

    async def ask_next(self) -> tuple[Answer, int | None]:
        """What became of asking for the next number, and that number."""
        try:
            answer, reply, _ = await self.request("GET", wire.next_url(self.url))
        except (TrickleConnectionError, ProtocolError):
            return Answer.LOST, None
        return answer, reply.trickle.latest if reply else None


class SegmentReader:
    """One segment to read, from a `TrickleSubscriber`, while it is written.

    Iterate over its chunks (their borders mean nothing), or `read()` it whole. Asking the
    subscriber for the next segment gives up what was not read of this one.
    """

    def __init__(self, source: SubscribedChannel, seq: int, download: Download) -> None:
        self._channel = source
        self._download = download
        self._backoff: Backoff | None = None
        self._pace: Backoff | None = None
        self._breaks = 0
        self._tried = False
        """Whether it was asked for again, and no byte has come since."""
        self._size = 0
        self._tail = b""
        self._done = False
        self.seq = seq
        """Its number."""
        self.mime_type = download.mime_type
        """The type of the channel, as its creator named it; may be empty."""
        self.latest = download.trickle.latest
        """The next number of the channel when this segment was asked for; None if the answer did
        not tell, as for a reader that keeps up."""

    def __repr__(self) -> str:
        return f"<SegmentReader seq={self.seq} {self.mime_type!r}, {self._size} bytes read>"

    def __aiter__(self) -> SegmentReader:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.receive()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def __aenter__(self) -> SegmentReader:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def receive(self) -> bytes:
        """The next bytes, at least one; b"" at the end.

        A connection that breaks is opened again and read from where it broke.

        Raises `SegmentFailed` if the rest is lost. The subscriber goes on with the next segment.
        """
        while not self._done:
            try:
                data = await self._download.read(self._channel.timeouts.silence)
            except TrickleTimeout:
                await self._mend(Answer.SILENT)
                continue
            except (TrickleConnectionError, ProtocolError):
                await self._mend(Answer.LOST)
                continue
            if not data:
                self._finish()
                break
            self._size += len(data)
            self._tail = data[-_TAIL:] if len(data) >= _TAIL else (self._tail + data)[-_TAIL:]
            self._channel.stats.bytes += len(data)
            if self._tried:
                # Failures without a new byte between them are one outage, however far each try got.
                self._tried = False
                assert self._backoff is not None
                self._backoff.reset()
            return data
        return b""

    async def read(self, *, limit: int = MAX_READ) -> bytes:
        """The rest of the segment, when it has ended.

        Raises `SegmentFailed` as `receive` does, and if it is longer than `limit` bytes: its writer
        decides how long it is. Iterating takes one of any length.
        """
        chunks, size = [], 0
        async for chunk in self:
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                self._finish()
                raise self._cut(size, f"read() takes {limit} bytes at most")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def aclose(self) -> None:
        """Give up the rest. Reading on gives b""."""
        self._finish()

    def _finish(self) -> None:
        if not self._done:
            self._done = True
            self._download.abort()

    def _given_up(self) -> bool:
        # A call, since another task may close it while this one waits.
        return self._done

    async def _mend(self, answer: Answer) -> None:
        try:
            while not self._given_up():
                download = await self._recover(answer)
                if download is None:
                    return
                self._download.abort()
                self._download = download
                if self._given_up():
                    download.abort()
                    return
                answer = await self._skip()
                if answer is Answer.OK:
                    return
        except BaseException:
            self._finish()
            raise

    async def _skip(self) -> Answer:
        """Read over what was handed out before; OK when the reader stands where it stood."""
        left, tail = self._size, b""
        while left:
            try:
                data = await self._download.read(self._channel.timeouts.silence)
            except TrickleTimeout:
                return Answer.SILENT
            except (TrickleConnectionError, ProtocolError):
                return Answer.LOST
            if len(data) > left:
                self._download.unread(data[left:])
                data = data[:left]
            elif not data:
                break
            left -= len(data)
            tail = (tail + data)[-_TAIL:]
        if left or tail != self._tail:
            why = "another segment of its number came on reconnecting"
            raise self._cut(self._size, why)
        return Answer.OK

    async def _recover(self, answer: Answer) -> Download | None:
        """A new answer to read the segment from; None: read on.

        Raises `SegmentFailed` if the rest is not to be had. If there is nobody to ask any more
        (another certificate, no HTTP), asking for the next segment tells.
        """
        channel, state = self._channel, self._channel.state
        if self._backoff is None or self._pace is None:
            self._backoff, self._pace = Backoff(channel.timeouts.outage), Backoff(None)
        rule = state.answered(SubscribeStage.READING, answer)
        if rule.action is SubscribeAction.PROBE:
            probed, latest = await channel.ask_next()
            rule = state.answered(SubscribeStage.PROBING, probed, latest=latest)
            if rule.action is SubscribeAction.DELIVER:
                return None
        while rule.action is not SubscribeAction.CUT:
            # The first time costs no pause: most breaks are one connection's. A server that breaks
            # off after each byte gets no request for each of them.
            self._breaks += 1
            if self._breaks > wire.RING:
                await asyncio.sleep(self._pace.next(0.0) or 0.0)
            if rule.action is SubscribeAction.AGAIN or self._tried:
                delay = self._backoff.next(asyncio.get_running_loop().time())
                if delay is None:
                    why = f"the server was away for {channel.timeouts.outage:g} s"
                    raise self._cut(self._size, why)
                await asyncio.sleep(delay)
            if self._given_up():
                return None
            self._tried = True
            channel.stats.reconnects += 1
            rule, download = await self._resume()
            if download is not None:
                return download
        raise self._cut(self._size, rule.why)

    async def _resume(self) -> tuple[SubscribeRule, Download | None]:
        """Ask again for the segment that is being read."""
        channel, state = self._channel, self._channel.state
        download = channel.download(self.seq)
        try:
            news = await download.wait(channel.timeouts.silence)
        except BaseException:
            download.abort()
            raise
        if not news or download.parser.head is None:
            download.abort()
            if isinstance(download.error, CertificateError | ProtocolError):
                return Rule(SubscribeAction.CUT, download.error.message), None
            answer = Answer.LOST if news else Answer.SILENT
            return state.answered(SubscribeStage.RESUMING, answer), None
        rule = state.answered(SubscribeStage.RESUMING, download.answer, seq=download.trickle.seq)
        if rule.action is SubscribeAction.DELIVER:
            return rule, download
        download.abort()
        return rule, None

    def _cut(self, size: int, why: str) -> SegmentFailed:
        """The error to raise: the segment ends here, damaged."""
        self._channel.stats.cut += 1
        return SegmentFailed(
            f"the segment broke off after {size} bytes: {why}", url=self._channel.url, seq=self.seq
        )
