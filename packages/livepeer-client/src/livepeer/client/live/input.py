"""Media into a live session: one publisher, opened at first use, again after a lost connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Generator, Iterable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, TypeVar

from livepeer.client.exceptions import SessionEndedError
from livepeer.client.live.ending import Ending
from livepeer.client.live.media import Returned, as_frame, each_of, media
from livepeer.client.live.outage import GONE, Outage, Seldom
from livepeer.trickle.exceptions import (
    CertificateError,
    ChannelClosed,
    ChannelNotFound,
    SegmentFailed,
    TrickleConnectionError,
    TrickleError,
)
from livepeer.trickle.publisher import TricklePublisher
from livepeer.trickle.types import TLS

if TYPE_CHECKING:
    # What comes with PyAV.
    from livepeer.client.live.media import Frame
    from livepeer.trickle.media import MediaPublisher, MediaPublisherStats

logger = logging.getLogger(__name__)

T = TypeVar("T")

LINGER: Final = 1.0
"""How long the last segment stays for a reader that is one behind, in seconds, where nothing
tells that it has been read."""
STOPPING: Final = 5.0
"""How long the end of what is published may take once it is told to stop, in seconds."""


class Publication:
    """Something that is being published in the background. Await it to wait until it is sent."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    @property
    def done(self) -> bool:
        return self._task.done()

    def __await__(self) -> Generator[Any, None, None]:
        return asyncio.shield(self._task).__await__()

    async def aclose(self) -> None:
        """Stop publishing it. One whose iterable does not let go is left after 5 s."""
        self._task.cancel()
        await asyncio.wait((self._task,), timeout=STOPPING)


class Input:
    """The way into the pipeline."""

    def __init__(
        self,
        url: str,
        tls: TLS,
        outputs: Mapping[str, Any],
        ending: Ending,
        returned: Returned,
        *,
        last: bool = False,
    ) -> None:
        """`last`: the end of the input is the end of the session, which nobody tells then."""
        self.url, self._last_of_all = url, last
        self.outage = Outage(
            "publishing again after a lost connection",
            ending,
            reason=lambda why: f"the input could not be sent: {why}",
        )
        self._ending, self._returned = ending, returned
        self._tls, self._outputs = tls, outputs
        self._seldom = Seldom()
        self._transport: TricklePublisher | None = None
        self._fresh = True
        """Nobody wrote the channel yet: the orchestrator made it for this session."""
        self._media: MediaPublisher | None = None
        self._last: MediaPublisherStats | None = None
        self._times: deque[Fraction | None] = deque(maxlen=2)
        """Of the last pictures that were sent."""
        self._lock = asyncio.Lock()

    @property
    def stats(self) -> MediaPublisherStats | None:
        """Of the publisher that is open, else of the last one."""
        return self._media.stats if self._media else self._last

    async def send_frames(self, frames: AsyncIterable[Any] | Iterable[Any], *, end: bool) -> None:
        """Send all of them; `end` ends the channel after them."""
        with self._telling():
            async with contextlib.aclosing(each_of(frames)) as items:
                async for item in items:
                    await self._write(as_frame(item))
            if end:
                await self._end()

    async def send_segments(
        self, segments: AsyncIterable[bytes] | Iterable[bytes], *, end: bool
    ) -> None:
        """The same for whole segments of MPEG-TS."""
        with self._telling():
            async with contextlib.aclosing(each_of(segments)) as items:
                async for segment in items:
                    await self._write_segment(segment)
            if end:
                await self._end()

    async def aclose(self) -> None:
        """Send what is left, and leave the channel as it is."""
        async with self._lock:
            self._last = self.stats
            transport, self._transport = self._transport, None
            publisher, self._media = self._media, None
            if transport is not None:
                await (publisher or transport).aclose()

    async def _end(self) -> None:
        """Send what is left, and end the channel once the pipeline has had all of it."""
        sent = self._transport is not None
        await self.aclose()
        if sent:
            # Whoever gives the last picture but one back reads the last segment already, or waits
            # for it: a reader always asks for one ahead. The last picture of all may be held back
            # by a decoder until the end.
            await self._returned.reached(self._times[0] if self._times else None, LINGER)
        if self._last_of_all:
            self._ending.finish("the input ended", lost=False)
        async with TricklePublisher(self.url, tls=self._tls, linger=0):
            pass

    async def _write(self, frame: Frame) -> None:
        await self._persist(self._opened_media, lambda publisher: publisher.write(frame))
        if frame.kind == "video":
            self._times.append(None if frame.pts is None else frame.time)

    async def _write_segment(self, data: bytes) -> None:
        async def send(publisher: TricklePublisher) -> None:
            async with publisher.segment() as segment:
                await segment.write(data)

        await self._persist(self._opened, send)

    async def _persist(
        self, opened: Callable[[], Awaitable[T]], use: Callable[[T], Awaitable[None]]
    ) -> None:
        """Use the publisher; after a lost connection a new one, until that has taken too long."""
        self.outage.reached()
        while True:
            try:
                await use(await opened())
                return
            except SegmentFailed as error:
                logger.log(self._seldom.level(), "a segment was cut: %s", error)
                return  # sent at most once: the next frame goes on
            except CertificateError:
                raise
            except TrickleConnectionError as error:
                if self._ending.over or self.outage.lost(error):
                    raise
                await self.aclose()
                await self.outage.pause()

    @contextlib.contextmanager
    def _telling(self) -> Generator[None]:
        """What cannot be sent any more ends the session."""
        try:
            yield
        except (ChannelNotFound, ChannelClosed) as error:
            self._ending.finish(f"the input channel is gone: {GONE}", lost=True)
            raise self._ending.error() or SessionEndedError(str(error)) from error
        except TrickleError as error:
            self._ending.finish(f"the input could not be sent: {error}", lost=True)
            raise self._ending.error() or SessionEndedError(str(error)) from error

    def _publisher(self) -> TricklePublisher:
        fresh, self._fresh = self._fresh, False
        return TricklePublisher(self.url, fresh=fresh, tls=self._tls, delete_on_close=False)

    async def _opened(self) -> TricklePublisher:
        async with self._lock:
            if self._transport is None:
                transport = self._publisher()
                await transport.__aenter__()
                self._transport = transport
            return self._transport

    async def _opened_media(self) -> MediaPublisher:
        async with self._lock:
            if self._media is None:
                transport = self._publisher()
                publisher = media().MediaPublisher(self.url, publisher=transport, **self._outputs)
                await publisher.__aenter__()
                self._transport, self._media = transport, publisher
            assert self._media is not None
            return self._media
