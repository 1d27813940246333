"""Writing a channel: `TricklePublisher` and `SegmentWriter`."""

from __future__ import annotations

import asyncio
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

from livepeer.trickle.channel import PublishedChannel
from livepeer.trickle.exceptions import TrickleError, public_url
from livepeer.trickle.http.transport import Transport
from livepeer.trickle.protocol import wire
from livepeer.trickle.protocol.publish_state import PublishStage
from livepeer.trickle.segment import SegmentPost, SegmentQueue
from livepeer.trickle.types import DEFAULT_TIMEOUTS, TLS, Timeouts

if TYPE_CHECKING:
    from typing import Self


class TricklePublisher:
    """Writes segments to a channel, one at a time, the next one connected ahead.

    ::

        async with TricklePublisher(url) as publisher:
            async with publisher.segment() as segment:
                await segment.write(b"...")

    Delivery is at most once: a segment whose connection broke is counted in `stats.uncertain` and
    never sent again; the publisher goes on with a new one. Numbers go on where an earlier publisher
    of the channel left them, and what that one left open is ended.

    - `url`: of the channel.
    - `mime_type`: of the content.
    - `create`: make the channel first. go-livepeer's orchestrators make their channels themselves
      and refuse.
    - `fresh`: the channel was made for this publisher, and nobody wrote it: begin with number 0
      without asking for it, which saves a round trip. If that is wrong, the numbers go back, and
      readers lose what comes until they ask again where the channel is.
    - `delete_on_close`: end the channel on close, so that its readers end. Without it they wait for
      another publisher.
    - `linger`: seconds between the last byte and the deletion, for readers one segment behind.
    - `timeouts`: limits of the single waits.
    - `session`: a pool of connections to use; by default one is shared for each event loop.
    - `tls`: True verifies, False does not, or a context, or a `Pin`.

    Connecting and opening a segment raise `ChannelNotFound` if there is no such channel and
    `create` is off; `ChannelClosed` if it was deleted, or if a `fresh` one is missing;
    `ChannelRefused` if this client may not write it, or make it; `ProtocolError` if the server
    speaks no trickle; `TrickleConnectionError` if it was away for longer than `timeouts.outage`.
    """

    def __init__(
        self,
        url: str,
        *,
        mime_type: str = wire.DEFAULT_MIME_TYPE,
        create: bool = False,
        fresh: bool = False,
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
        self._channel = PublishedChannel(
            self.url,
            mime_type=mime_type,
            create=create,
            fresh=fresh,
            timeouts=timeouts,
            transport=session,
            tls=tls,
        )
        self._queue = SegmentQueue(self._channel)
        self.stats = self._channel.stats
        self._segment: SegmentWriter | None = None
        self._nobody_behind = asyncio.Event()

    def __repr__(self) -> str:
        return f"<TricklePublisher {public_url(self.url)} next={self._channel.state.seq}>"

    async def __aenter__(self) -> Self:
        try:
            await self._queue.connect()
        except BaseException:
            await self._queue.aclose()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def segment(self) -> SegmentWriter:
        """The next segment, to be used with `async with`. One at a time."""
        return SegmentWriter(self)

    async def write(self, data: bytes | bytearray | memoryview) -> SegmentWriter:
        """Write `data` as one whole segment, which is returned: `acknowledged()` waits for it.

        Raises the errors of `SegmentWriter.write`.
        """
        async with self.segment() as segment:
            await write_whole(segment, data)
        return segment

    def skip_linger(self) -> None:
        """Delete the channel without waiting for readers, also where `aclose` waits already."""
        self._nobody_behind.set()

    async def aclose(self) -> None:
        """End the open segment, wait until all are acknowledged, linger, delete the channel.

        Never raises for what the server does, or for its absence (that is logged). Safe to call
        again.
        """
        queue, channel = self._queue, self._channel
        if queue.closed:
            return
        queue.stop()
        try:
            if self._segment is not None:
                end_now(self._segment)
            await queue.settle()
            if self.delete_on_close and queue.connected and not channel.state.closed:
                if self.stats.segments or self.stats.uncertain:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self.linger):
                            await self._nobody_behind.wait()
                await channel.delete()
        finally:
            await queue.aclose()

    def __del__(self) -> None:
        queue = getattr(self, "_queue", None)
        if queue is not None and self._channel.leased:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._channel.forget([] if queue.ahead is None else [queue.ahead.upload])


class SegmentWriter:
    """One segment to write, from `TricklePublisher.segment()`; use it as a context manager.

    `write` returns when the connection has taken the bytes, which is how a slow network slows the
    writer. Leaving the block ends the segment; it does not wait for the server's answer, which is
    counted in the publisher's `stats` (`acknowledged()` waits for it). Left by an exception or a
    cancellation, the segment ends where it is: short, but whole for its readers.
    """

    def __init__(self, publisher: TricklePublisher) -> None:
        self._publisher = publisher
        self._queue = publisher._queue
        self._post: SegmentPost | None = None
        self._closed = False
        self.done = False
        """Whether the server has answered, or never will."""

    def __repr__(self) -> str:
        post = self._post
        where = "not begun" if post is None else f"seq={post.seq} {post.stage.value}"
        return f"<SegmentWriter {where}, {self.bytes_written} bytes>"

    @property
    def seq(self) -> int:
        """Its number. It is known in the block, and final once a byte is written."""
        if self._post is None:
            raise RuntimeError("the segment has no number yet: use `async with`")
        return self._post.seq

    @property
    def bytes_written(self) -> int:
        """How many bytes were written so far. 0: none has left, and none will."""
        return self._post.upload.handed if self._post is not None else 0

    @property
    def failed(self) -> bool:
        """Whether it is known that the server did not acknowledge it, and never will."""
        return self.done and self._error is not None

    async def __aenter__(self) -> SegmentWriter:
        publisher = self._publisher
        if publisher._segment is not None:
            raise RuntimeError(
                f"segment {publisher._segment.seq} is still open: end it before opening the next"
            )
        publisher._segment = self
        try:
            await self._take()
        except BaseException:
            publisher._segment = None
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            await self.aclose()
        else:
            self._end()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` now.

        Raises `SegmentFailed` if the segment was cut (it counts as uncertain): go on with a new
        one; `ChannelClosed` if the channel was deleted; with the first bytes also the errors of
        opening a segment (`TricklePublisher`): none of the bytes has left then.
        """
        await self._write(data)

    async def aclose(self) -> None:
        """End the segment. Raises `SegmentFailed` if it is already known to be cut, and, if nothing
        was written, the errors of `write`."""
        try:
            if self._is_idle and not self._closed:
                # An empty segment still takes its number, so it keeps its turn as well.
                await self._take_turn()
        finally:
            self._end()
        if self._error is not None:
            raise self._error

    async def acknowledged(self) -> None:
        """Wait until the server has the whole segment.

        Raises `SegmentFailed`: it may have arrived, whole or short, or not at all.
        """
        if not self._closed:
            raise RuntimeError("end the segment before waiting for its acknowledgement")
        if self._post is not None:
            await self._post.settled()
        if self._error is not None:
            raise self._error

    @property
    def _error(self) -> TrickleError | None:
        return self._post.error if self._post is not None else None

    @property
    def _is_idle(self) -> bool:
        """Whether it has a number, and no byte of it has left."""
        return self._post is not None and self._post.stage in _IDLE

    async def _take(self) -> None:
        self._post = await self._queue.take()
        self._post.on_done(self._on_done)

    async def _take_turn(self) -> None:
        """Wait until its first byte may leave, under another number if its own was lost."""
        await self._queue.turn()
        while self._post is None or not await self._queue.is_usable(self._post):
            await self._take()

    async def _write(self, data: bytes | bytearray | memoryview, *, end: bool = False) -> None:
        if self._closed:
            raise RuntimeError("write to a segment that has ended")
        if self._post is None:
            raise RuntimeError("write to a segment inside its `async with` block")
        first = self._is_idle
        if first:
            await self._take_turn()
        post = self._post
        if data and post.error is None:
            await post.write(data, limit=self._publisher.timeouts.write, end=end)
            if first:
                self._queue.open_ahead()
        if post.error is not None:
            raise post.error

    def _end(self) -> None:
        """End the body without waiting."""
        if self._closed:
            return
        self._closed = True
        post, publisher = self._post, self._publisher
        if post is not None:
            idle = self._is_idle
            post.end(publisher.timeouts.answer)
            self.done = post.done
            if idle and not post.done:
                self._queue.open_ahead()
            self._queue.left(post)
        if publisher._segment is self:
            publisher._segment = None

    def _on_done(self) -> None:
        self.done = True


_IDLE = (PublishStage.IDLE, PublishStage.UNUSED)


async def write_whole(segment: SegmentWriter, data: bytes | bytearray | memoryview) -> None:
    """Write `data` and the end of `segment` in one go: one packet less than by `write`."""
    await segment._write(data, end=True)


def end_now(segment: SegmentWriter) -> None:
    """End `segment` without waiting and without an error, as leaving its block by an exception."""
    segment._end()


async def close_now(publisher: TricklePublisher) -> None:
    """Close it without waiting for the server: what that has not acknowledged is given up."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0):
            await publisher.aclose()
