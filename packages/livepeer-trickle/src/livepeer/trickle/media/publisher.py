"""Frames in, a trickle channel out: encoded on one thread, sent while segments grow."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from types import TracebackType
from typing import Literal, Self

from livepeer.trickle.exceptions import ChannelClosed, SegmentFailed, TrickleError
from livepeer.trickle.media.codec.encoder import SegmentEncoder
from livepeer.trickle.media.codec.outputs import AudioOutput, VideoOutput
from livepeer.trickle.media.frame import Item, VideoFrame
from livepeer.trickle.media.stream.pacer import Pacer
from livepeer.trickle.media.stream.send_queue import SendQueue
from livepeer.trickle.media.ts.segments import EncoderStats, Piece
from livepeer.trickle.publisher import TricklePublisher, close_now
from livepeer.trickle.types import TLS, PublisherStats

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class MediaPublisherStats:
    """Counts of a publication since it was opened, from the frame to the socket."""

    frames: int = 0
    """Frames and packets that were written."""
    dropped: int = 0
    """Left out because the network was behind (`on_stall="drop"`)."""
    stalls: int = 0
    """Times that the network fell behind."""
    segments_failed: int = 0
    """Segments cut on the way; their readers go on with the next one."""
    encode_seconds: float = 0.0
    """Time spent encoding, in all."""
    encoder: EncoderStats = field(default_factory=EncoderStats)
    transport: PublisherStats = field(default_factory=PublisherStats)


class MediaPublisher:
    """Publishes frames to a trickle channel as segments of MPEG-TS.

    ::

        async with MediaPublisher(url) as publisher:
            async for frame in frames:
                await publisher.write(frame)

    The channel has to exist; `publisher=TricklePublisher(url, create=True)` creates it.

    A frame's bytes leave as soon as it is encoded, into the segment that is open; a new one begins
    at each keyframe. Encoding runs on one thread. `output` and `audio` say how each track is
    encoded; `None` leaves the track out. `stats` counts frames, losses and time.

    Times go out as they are, modulo 26.5 hours: the clock of MPEG-TS has 33 bits of 1/90000 s.
    Pictures that come before the first sound do not wait for it; `expect={"video", "audio"}`
    tells readers of both from the beginning.

    `on_stall`: when the network cannot keep up, `"wait"` makes `write` wait for it, and
    `"drop"` ends the segment and leaves out whole ones until it has caught up. What is sent is
    always a whole segment, unless its connection breaks.
    """

    def __init__(
        self,
        url: str,
        *,
        output: VideoOutput | None = VideoOutput(),  # noqa: B008 — frozen
        audio: AudioOutput | None = AudioOutput(),  # noqa: B008 — frozen
        expect: Collection[Literal["video", "audio"]] = (),
        on_stall: Literal["wait", "drop"] = "wait",
        drain_timeout: float = 5.0,
        publisher: TricklePublisher | None = None,
        tls: TLS = True,
    ) -> None:
        """`expect`: tracks that will come; see `SegmentEncoder.expect`.

        `drain_timeout`: seconds that closing gives the network to take what is left; what it has
        not taken by then is lost, which is logged.
        `publisher`: one with options of its own (`create`, `timeouts`, `linger`,
        `session`), for the same `url`; it is closed with this one.
        Raises `ValueError` or `TypeError` for an option that is out of range or of another type.
        """
        if on_stall not in ("wait", "drop"):
            raise ValueError(f"on_stall {on_stall!r}: expected 'wait' or 'drop'")
        if not drain_timeout >= 0:
            raise ValueError(f"drain_timeout {drain_timeout!r}: expected seconds from 0")
        self.url = url
        self._encoder = SegmentEncoder(output, audio, expect=expect)
        self._publisher = publisher or TricklePublisher(url, tls=tls)
        self.stats = MediaPublisherStats(
            encoder=self._encoder.stats, transport=self._publisher.stats
        )
        self._on_stall = on_stall
        self._drain_timeout = drain_timeout
        self._pacer = Pacer(Fraction(output.fps) if output and output.fps else Fraction(30))
        self._queue = SendQueue()
        self._thread: ThreadPoolExecutor | None = None
        self._encoding = threading.Lock()
        """Held by the thread that uses the encoder: the one of this publisher, or another's."""
        self._sender: asyncio.Task[None] | None = None
        self._error: TrickleError | None = None
        self._told = self._warned = False
        self._dropping = False
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._closed or self._sender is not None:
            raise RuntimeError("a MediaPublisher is opened once")
        await self._publisher.__aenter__()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="livepeer-encode")
        self._sender = asyncio.create_task(self._send(), name=f"publish {self.url}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
        if kind is None and self._error is not None and not self._told:
            raise self._error
        if kind is None and self._sender is not None and not self._sender.cancelled():
            # Not foreseen, and so not to be hidden.
            self._sender.result()

    def expect(
        self,
        kind: Literal["video", "audio"],
        codec: str | None = None,
        *,
        channels: int = 0,
        decoded: bool = False,
    ) -> None:
        """Say that a track will come; see `SegmentEncoder.expect`. From any thread."""
        self._encoder.expect(kind, codec, channels=channels, decoded=decoded)

    async def write(self, item: Item) -> None:
        """Encode `item` and hand it to the network; afterwards the caller may write into it.

        Frames come in the order of their times. One that is not later than the one before it of
        its track is left out and counted (`stats.encoder.late`); one that is a second or more
        earlier begins a new timeline.

        A frame with a time is sent at once: to play a file live, sleep until each is due. One
        without a time is paced: it is given the next time at `VideoOutput.fps` (30 by default)
        or the end of the sound before it, and waits until that is due. Those times count from 0:
        where other frames have times, give one by `frame.replace` or `time=frame.time`.

        Raises `TrickleError` when the channel is lost, `TypeError` or `ValueError` for
        what cannot be encoded, `EncoderUnavailable` where the codec does not open.
        A write that is cancelled may or may not have been sent.
        """
        self._check()
        if self._on_stall == "drop":
            if self._is_dropped():
                self.stats.frames += 1
                self.stats.dropped += 1
                return
        else:
            await self._queue.room()
            self._check()
        at, wait = self._pacer.pace(item)
        if self._pacer.mixed and not self._warned:
            self._warned = True
            logger.warning(
                "%s gets frames with a time and frames without one, which is counted from 0: they "
                "will be apart; make frames with frame.replace(...), or give them time=frame.time",
                self.url,
            )
        if wait > 0:
            await asyncio.sleep(wait)
            self._check()
        self.stats.frames += 1
        await self._on_thread(self._encode, item, at)

    async def aclose(self) -> None:
        """Send all that was written, then end the channel; nothing raises where it is lost.

        Readers have a second to fetch the end: `linger` of `TricklePublisher`.
        """
        if self._closed:
            return
        self._closed = True
        sender = self._sender
        close: Callable[[TricklePublisher], Awaitable[None]] = TricklePublisher.aclose
        try:
            if sender is not None and not sender.done():
                await self._on_thread(self._flush)
                self._queue.close()
                async with asyncio.timeout(self._drain_timeout):
                    await asyncio.shield(sender)
        except TimeoutError:
            logger.warning("%s did not take the last frames in %s s", self.url, self._drain_timeout)
        except BaseException:
            close = close_now
            raise
        finally:
            try:
                if sender is not None:
                    sender.cancel()
                    await asyncio.wait([sender])
            finally:
                if self._thread is not None:
                    self._thread.shutdown(wait=False, cancel_futures=True)
                await close(self._publisher)

    def _check(self) -> None:
        if self._error is not None:
            self._told = True
            raise self._error
        if self._sender is not None and self._sender.done() and not self._closed:
            # Not foreseen, and so not to be hidden.
            self._sender.result()
        if self._closed or self._sender is None:
            raise ChannelClosed(
                "write to a MediaPublisher inside its `async with` block", url=self.url
            )

    def _is_dropped(self) -> bool:
        """Whether this frame is left out: from a stall on, until all that waited is out."""
        if self._dropping:
            self._dropping = not self._queue.empty
        elif self._queue.behind:
            self._dropping = True
            self.stats.stalls += 1
            # The next frame that is encoded opens a segment of its own.
            self._encoder.cut()
        return self._dropping

    async def _on_thread(self, call: Callable[..., list[Piece]], *arguments: object) -> None:
        assert self._thread is not None
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def finish(pieces: list[Piece], error: BaseException | None) -> None:
            # Also where the write was cancelled, which must not tear a hole into the segment.
            self._queue.put(pieces)
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        def work() -> None:
            # One wake-up of the loop for both: the pieces, and the writer.
            try:
                pieces = call(*arguments)
            except BaseException as error:  # noqa: BLE001 — raised in the task that writes
                loop.call_soon_threadsafe(finish, [], error)
            else:
                loop.call_soon_threadsafe(finish, pieces, None)

        def dropped(submitted: Future[None]) -> None:
            if submitted.cancelled():  # by `aclose`, before its turn
                done.cancel()

        submitted = self._thread.submit(work)
        submitted.add_done_callback(dropped)
        try:
            await done
        finally:
            submitted.cancel()

    def _encode(self, item: Item, at: Fraction | None) -> list[Piece]:
        with self._encoding:
            begin = time.perf_counter()
            try:
                return self._encoder.encode(item, at)
            finally:
                self.stats.encode_seconds += time.perf_counter() - begin

    def _encode_lent(self, frame: VideoFrame) -> list[Piece]:
        # Of a publisher that is closed, the end has left, or leaves now.
        return [] if self._closed else self._encode(frame, None)

    def _flush(self) -> list[Piece]:
        with self._encoding:
            return self._encoder.flush()

    async def _send(self) -> None:
        """The one task that talks to the network."""
        try:
            piece = await self._queue.get()
            while piece is not None:
                piece = await self._send_segment(piece)
        except TrickleError as error:
            self._error = error
        finally:
            self._queue.discard()

    async def _send_segment(self, piece: Piece) -> Piece | None:
        """Send the segment that `piece` begins; returns the first piece of the next one.

        Left by cancellation, the segment is short, but whole for its readers.
        """
        following: Piece | None = piece
        try:
            async with self._publisher.segment() as segment:
                while following is not None and (following is piece or not following.new_segment):
                    await segment.write(following.data)
                    following = await self._queue.get()
            if following is None:
                # The last one: closing tells whether it has arrived.
                await segment.acknowledged()
        except SegmentFailed as error:
            self.stats.segments_failed += 1
            logger.warning("a segment was cut, going on with a new one: %s", error)
            # The rest of it is of no use to anyone: begin another as soon as possible.
            self._encoder.cut(lost=True)
            while following is not None and (following is piece or not following.new_segment):
                following = await self._queue.get()
        return following


class LentEncoder:
    """The encoder of a publisher, for the next frame, in a thread of the caller's."""

    def __init__(self, publisher: MediaPublisher) -> None:
        self._publisher = publisher
        self._pieces: list[Piece] = []
        self._frames = 0

    def encode(self, frame: VideoFrame) -> None:
        """Encode a frame that has a time; raises what `MediaPublisher.write` does for it."""
        self._frames += 1
        self._pieces += self._publisher._encode_lent(frame)

    def send(self) -> None:
        """On the loop: what was encoded leaves."""
        self._publisher.stats.frames += self._frames
        self._publisher._queue.put(self._pieces)


def lend_encoder(publisher: MediaPublisher) -> LentEncoder | None:
    """The encoder, where `write` would neither wait nor leave a frame out nor raise.

    That saves a picture a thread and a turn of the loop on its way. Nothing else is written
    until it is sent.
    """
    sender, queue = publisher._sender, publisher._queue
    if publisher._closed or publisher._error or sender is None or sender.done():
        return None
    if publisher._dropping or queue.behind or not queue.has_room:
        return None
    return LentEncoder(publisher)
