"""Reading a channel: `TrickleSubscriber`."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING

from livepeer.trickle.exceptions import (
    CertificateError,
    ChannelClosed,
    ProtocolError,
    TrickleError,
    public_url,
)
from livepeer.trickle.http.download import Download
from livepeer.trickle.http.exchange import shown
from livepeer.trickle.http.transport import Transport
from livepeer.trickle.protocol import wire
from livepeer.trickle.protocol.retry import Backoff
from livepeer.trickle.protocol.subscribe_state import (
    SubscribeAction,
    SubscribeRule,
    SubscribeStage,
)
from livepeer.trickle.protocol.wire import Answer
from livepeer.trickle.reader import SegmentReader, SubscribedChannel
from livepeer.trickle.types import (
    DEFAULT_TIMEOUTS,
    TLS,
    GapPolicy,
    Start,
    Timeouts,
)

if TYPE_CHECKING:
    from typing import Self


class TrickleSubscriber:
    """Reads the segments of a channel in order, each while it is written.

    ::

        async with TrickleSubscriber(url) as subscriber:
            async for segment in subscriber:
                async for chunk in segment:
                    ...

    The loop ends when the channel does. While a segment is read the next one is already asked for.
    Lost connections are mended without losing or doubling a byte where the ring still has them;
    segments that it has lost are counted in `stats.gaps`.

    - `url`: of the channel.
    - `start`: "next" (the segment written next), "current" (the segment begun last) or a number
      from 0.
    - `on_gap`: where to go on after falling out of the ring of five: "latest" is the live edge,
      "oldest" the oldest segment there.
    - `timeouts`: limits of the single waits.
    - `session`: a pool of connections to use; by default one is shared for each event loop.
    - `tls`: True verifies, False does not, or a context, or a `Pin`.

    Raises, while iterating, `ChannelNotFound`; `ChannelRefused` if this client may not read it;
    `ProtocolError` if the server speaks no trickle; `TrickleConnectionError` if it was away for
    longer than `timeouts.outage`. Reading a segment raises `SegmentFailed` if its rest is lost; the
    loop may go on.
    """

    def __init__(
        self,
        url: str,
        *,
        start: Start = "next",
        on_gap: GapPolicy = "latest",
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        session: Transport | None = None,
        tls: TLS = True,
    ) -> None:
        self.url = wire.check_channel_url(url)
        self.timeouts = timeouts
        self._channel = SubscribedChannel(
            self.url, start=start, on_gap=on_gap, timeouts=timeouts, transport=session, tls=tls
        )
        self._state = self._channel.state
        self.stats = self._channel.stats
        self._pending: Download | None = None
        self._arrived: tuple[Download | None, SubscribeRule] | None = None
        self._held: Download | None = None
        self._segment: SegmentReader | None = None
        self._backoff = Backoff(timeouts.outage)
        self._pace = Backoff(None, initial=0.005, maximum=0.1)
        self._odd = 0
        self._cut = 0
        self._ended = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<TrickleSubscriber {public_url(self.url)} ask={self._state.ask}>"

    async def __aenter__(self) -> Self:
        self._ask_ahead()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    @property
    def position(self) -> int | None:
        """The number of the segment that is read next; None while nothing is known of the channel.

        As `start` of another subscriber it goes on where this one stood: nothing comes twice.
        """
        return self._state.expected

    async def __anext__(self) -> SegmentReader:
        """The next segment, as soon as its first byte is there."""
        if self._closed:
            raise ChannelClosed("this subscriber is closed", url=self.url)
        if self._segment is not None:
            await self._segment.aclose()
            self._judge()
        while not self._ended:
            segment = await self._next()
            if segment is not None:
                self._segment = segment
                self.stats.segments += 1
                return segment
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop reading. Safe to call again."""
        if self._closed:
            return
        self._closed = self._ended = True
        try:
            if self._segment is not None:
                await self._segment.aclose()
        finally:
            arrived, held, pending = self._arrived, self._held, self._pending
            self._arrived = self._held = self._pending = None
            try:
                for download in (held, arrived and arrived[0]):
                    if download is not None:
                        download.abort()
                if pending is not None:
                    await pending.aclose()
            finally:
                await self._channel.release()

    def __del__(self) -> None:
        channel = getattr(self, "_channel", None)
        if channel is not None and channel.leased and not self._closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            left = (self._pending, self._held, self._arrived and self._arrived[0])
            channel.forget([each for each in left if each is not None])

    # --- asking ----------------------------------------------------------------------------------

    def _ask_ahead(self) -> None:
        """Ask for the segment at the cursor, without waiting for the answer."""
        if self._pending is not None or self._closed:
            return
        if self._held is not None and self._state.held in (None, self._state.ask):
            held, self._held = self._held, None
            if self._state.held is not None:
                self._pending = held
                return
            held.abort()  # the cursor has moved past it
        self._channel.lease()
        self._pending = self._channel.download(self._state.ask)

    def _head_came(self) -> None:
        """Take the pending answer, whose head is there; called for a reader that waits for it.

        The next segment is asked for at once rather than when that reader wakes.
        """
        download, self._pending = self._pending, None
        assert download is not None
        told = download.trickle
        rule = self._state.answered(
            SubscribeStage.WAITING, download.answer, seq=told.seq, latest=told.latest
        )
        if rule.action is SubscribeAction.HOLD:
            self._held = download
            self._arrived = None, rule
            return
        self._arrived = download, rule
        if rule.action is SubscribeAction.DELIVER:
            self._ask_ahead()

    async def _next(self) -> SegmentReader | None:
        """One answer: a segment, or None after the cursor moved, or a pause was made."""
        if self._odd > wire.RING or self._state.resyncs_in_a_row > wire.RING:
            # The first few are how a gap is crossed. A channel that goes on like that, or answers
            # nonsense, is not asked as fast as it answers.
            await asyncio.sleep(self._pace.next(0.0) or 0.0)
        download, rule, error = await self._answer()
        self.stats.gaps = self._state.gaps
        if rule.action is SubscribeAction.DELIVER:
            assert download is not None
            self._backoff.reset()
            return self._delivered(download)
        try:
            match rule.action:
                case SubscribeAction.RESYNC | SubscribeAction.HOLD:
                    self.stats.resyncs += rule.action is SubscribeAction.RESYNC
                    self._backoff.reset()
                case SubscribeAction.REPEAT:
                    self.stats.reconnects += 1
                case SubscribeAction.AGAIN:
                    await self._pause(rule, download, error)
                case SubscribeAction.END:
                    self._ended = True
                case _:
                    raise await self._failure(rule, download, error)
        finally:
            if download is not None:
                download.abort()
        return None

    def _delivered(self, download: Download) -> SegmentReader | None:
        seq = self._state.current
        if download.empty:
            self.stats.empty += 1
            self._odd += 1
            download.abort()
            return None
        latest = download.trickle.latest
        self.stats.behind = max(0, latest - seq - 1) if latest is not None else 0
        return SegmentReader(self._channel, seq, download)

    def _judge(self) -> None:
        """Whether the segment before made sense: it was the one asked for, and whole."""
        if self._state.odd or self.stats.cut > self._cut:
            self._odd += 1
        else:
            self._odd = 0
            self._pace.reset()
        self._cut = self.stats.cut

    async def _answer(self) -> tuple[Download | None, SubscribeRule, TrickleError | None]:
        """The next answer, or what became of the request, and what to do about it.

        Cancelled, the request stays pending, and an answer that has come waits for the next call.
        """
        answer, error = Answer.LOST, None
        if self._arrived is None:
            self._ask_ahead()
            pending = self._pending
            assert pending is not None
            if not await pending.wait(self.timeouts.silence, self._head_came):
                if self._state.ask == wire.NEXT_WRITE:
                    await self._pin_down(pending)
                if not await pending.wait(0.0, self._head_came):
                    answer = Answer.SILENT
                    pending.abort()
            error = pending.error
        if self._arrived is not None:
            (download, rule), self._arrived = self._arrived, None
            return download, rule, None
        self._pending = None
        if isinstance(error, CertificateError | ProtocolError):
            raise error
        return None, self._state.answered(SubscribeStage.WAITING, answer), error

    async def _pin_down(self, pending: Download) -> None:
        """Give "next" its number before it is asked for again: a segment that begins between the
        two requests would be missed."""
        answer, latest = await self._channel.ask_next()
        if answer is Answer.OK and latest is not None and not await pending.wait(0.0):
            self._state.ask = latest

    async def _pause(
        self, rule: SubscribeRule, download: Download | None, error: TrickleError | None
    ) -> None:
        self.stats.reconnects += 1
        delay = self._backoff.next(asyncio.get_running_loop().time())
        if delay is None:
            raise await self._failure(rule, download, error)
        await asyncio.sleep(delay)

    async def _failure(
        self, rule: SubscribeRule, download: Download | None, error: TrickleError | None
    ) -> TrickleError:
        """The error to raise: what the rule says, with what the server said."""
        self._ended = True
        told = ""
        if download is not None:
            text = await download.text(min(1.0, self.timeouts.answer))
            told = f"{download.status} {shown(text)}".rstrip()
        why = rule.why
        if rule.action is SubscribeAction.AGAIN:
            why = f"the server was away for {self.timeouts.outage:g} s"
        seq = self._state.ask if self._state.ask >= 0 else None
        return self._channel.failure(
            rule.error, why, told, error, seq=seq, attempt=self._backoff.attempt
        )
