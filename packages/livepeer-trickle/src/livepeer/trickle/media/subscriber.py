"""Frames of a trickle channel: `MediaSubscriber`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from livepeer.trickle.exceptions import SegmentFailed
from livepeer.trickle.http.transport import Transport
from livepeer.trickle.media.codec.decoder import Mode, StreamDecoder
from livepeer.trickle.media.codec.track_decoder import DecoderStats
from livepeer.trickle.media.frame import Item
from livepeer.trickle.media.stream.decode_thread import DecodeThread
from livepeer.trickle.media.stream.handover import Handover, Policy, Undecoded
from livepeer.trickle.media.ts.units import Track
from livepeer.trickle.subscriber import TrickleSubscriber
from livepeer.trickle.types import TLS, Start, SubscriberStats, Timeouts

if TYPE_CHECKING:
    from typing import Self

    from livepeer.trickle.reader import SegmentReader


_LATEST = 30
"""Decoded pictures that may wait: of a burst, which is given out in time or dropped as too old,
and where nothing is dropped."""
_ALL = 8

_TIMEOUTS = Timeouts()


@dataclass(slots=True)
class SourceStats:
    """Live counters of a subscription, from the socket to the frame."""

    dropped: int = 0
    """Video frames dropped because newer ones came before they were taken."""
    waiting: int = 0
    """Frames that are decoded and wait to be taken."""
    decoder: DecoderStats = field(default_factory=DecoderStats)
    transport: SubscriberStats = field(default_factory=SubscriberStats)


class MediaSubscriber:
    """Iterate over the frames of a channel while it is being written.

    ::

        async with MediaSubscriber(url) as frames:
            async for frame in frames:          # VideoFrame | AudioFrame
                ...

    `policy`: `latest`, the default, is real time: where frames are taken more slowly than they
    arrive for a fifth of a second, video frames that have waited for 50 ms are dropped and counted,
    oldest first, audio never; each track is in presentation order, as early as it can be. `all`
    loses nothing and holds back the socket instead; all tracks are in one presentation order, for
    which a frame may wait a second of media (a track that has not begun is not waited for).
    `start`: `"next"` (the next segment), `"current"`, or a sequence number.
    `video`, `audio`: `decode`, `packets` (undecoded `MediaPacket`), or `drop`.
    `device`: `"cuda"` or `"cuda:N"` decodes on that GPU where it can; `None` and `"cpu"` mean the
    CPU.
    `threads`: slice threads of the video decoder, four by default; one is best where many streams
    share the cores.
    `max_pixels`: width times height of the largest picture that is decoded, by default 4096×2304;
    larger ones are left out, and a stream of them is an error.

    Broken or lost parts never raise; they are counted in `stats`. Iteration ends when the channel
    does. Raises `livepeer.trickle.exceptions.TrickleError` where the channel cannot be read,
    `PictureTooLarge` where its pictures are larger than `max_pixels`, and `RuntimeError` in a
    second task that iterates at the same time.
    Decoding runs on one thread, which ends with the context, within five seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        policy: Policy = "latest",
        start: Start = "next",
        video: Mode = "decode",
        audio: Mode = "decode",
        device: str | None = None,
        threads: int | None = None,
        max_pixels: int | None = None,
        timeouts: Timeouts = _TIMEOUTS,
        session: Transport | None = None,
        tls: TLS = True,
    ) -> None:
        if policy not in ("latest", "all"):
            raise ValueError(f"policy has to be 'latest' or 'all', not {policy!r}")
        self.url = url
        self._policy: Policy = policy
        self._subscriber = TrickleSubscriber(
            url,
            start=start,
            on_gap="latest" if policy == "latest" else "oldest",
            timeouts=timeouts,
            session=session,
            tls=tls,
        )
        self._decoder = StreamDecoder(
            video=video,
            audio=audio,
            device=device,
            threads=threads,
            max_pixels=max_pixels,
            max_hold=0 if policy == "latest" else 1,
        )
        # To cut packets out of a stream is less work than to wake a thread for it.
        self._on_loop = None if "decode" in (video, audio) else lambda: True
        self._handover: Handover | None = None
        self._thread: DecodeThread | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def stats(self) -> SourceStats:
        """Counters as they are now, after the end too."""
        return SourceStats(
            dropped=self._handover.dropped if self._handover is not None else 0,
            waiting=len(self._handover) if self._handover is not None else 0,
            decoder=self._decoder.stats,
            transport=self._subscriber.stats,
        )

    @property
    def position(self) -> int | None:
        """The number of the segment that is read next; None while nothing is known of the channel.

        As `start` of another subscriber it goes on behind this one: nothing comes twice.
        """
        return self._subscriber.position

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks that the stream has announced, those left out included; known with the first
        frame."""
        return self._decoder.tracks

    async def __aenter__(self) -> Self:
        if self._handover is not None:
            raise RuntimeError("a MediaSubscriber can be entered once: make a new one")
        self._handover = Handover(self._policy, _LATEST if self._policy == "latest" else _ALL)
        self._thread = DecodeThread(self._decoder, self._handover)
        self._reader = asyncio.create_task(self._read(self._thread, self._handover))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        if self._handover is None:
            raise RuntimeError("use `async with MediaSubscriber(...) as frames` before iterating")
        item = await self._handover.take(self._on_loop)
        while isinstance(item, Undecoded):
            item = item.decode() or await self._handover.take(self._on_loop)
        if item is None:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Stop reading and decoding; frames that wait are lost. Safe to call again."""
        reader, self._reader = self._reader, None
        thread, self._thread = self._thread, None
        if reader is not None:
            reader.cancel()
        try:
            if thread is not None:
                await thread.aclose()
        finally:
            try:
                if reader is not None:
                    await asyncio.wait((reader,))
            finally:
                await self._subscriber.aclose()

    async def _read(self, thread: DecodeThread, handover: Handover) -> None:
        gaps = 0
        try:
            async with contextlib.aclosing(self._subscriber):
                async for segment in self._subscriber:
                    if self._subscriber.stats.gaps != gaps:
                        gaps = self._subscriber.stats.gaps
                        await thread.discontinuity()
                    await self._segment(segment, thread)
            await thread.finish()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 — raised where the frames are taken
            handover.fail(error)
            await thread.finish()

    async def _segment(self, segment: SegmentReader, thread: DecodeThread) -> None:
        try:
            async for chunk in segment:
                await thread.feed(chunk)
        except SegmentFailed:
            # Counted by the subscriber; its rest is lost, and the next segment goes on.
            await thread.discontinuity()
        else:
            await thread.end_segment()


async def take_early(source: MediaSubscriber, early: Callable[[], bool]) -> Item | Undecoded | None:
    """The next frame, or None at the end; or, where it has to be waited for and `early` says so
    when bytes come, these bytes, to be decoded in a thread of the caller's.

    That saves a picture a thread and a turn of the loop on its way.
    """
    assert source._handover is not None
    return await source._handover.take(early)


def end_taking(source: MediaSubscriber) -> None:
    """Nothing more is taken: who waits for a frame gets None, the end."""
    if source._handover is not None:
        source._handover.end()
