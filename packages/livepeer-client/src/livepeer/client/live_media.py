"""Media in and out of a live session: opened at first use, and again after a lost connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Mapping,
)
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from livepeer.client.exceptions import ConfigurationError, SessionEndedError
from livepeer.trickle.exceptions import (
    CertificateError,
    ChannelClosed,
    ChannelNotFound,
    SegmentFailed,
    TrickleConnectionError,
)
from livepeer.trickle.publisher import TricklePublisher
from livepeer.trickle.transport import TLS

if TYPE_CHECKING:
    from livepeer.trickle.media import (
        AudioFrame,
        MediaPublisher,
        MediaPublisherStats,
        MediaSubscriber,
        SourceStats,
        VideoFrame,
    )

    Frame = VideoFrame | AudioFrame

log = logging.getLogger("livepeer.client")

T = TypeVar("T")

#: How long a channel may be out of reach before the session counts as lost, in seconds.
OUTAGE: Final = 60.0
PAUSE: Final = 0.5
#: How long the end of the pictures waits for the reason.
VERDICT: Final = 3.0


def media() -> Any:
    """`livepeer.trickle.media`, or what to install."""
    if any(find_spec(name) is None for name in ("av", "numpy")):
        raise ConfigurationError(
            "frames need PyAV: pip install 'livepeer-client[media]'"
            " (publish_segments, data, events and control work without)"
        )
    from livepeer.trickle import media

    return media


class Publication:
    """Something that is being published in the background. `await` it to wait for its end."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    @property
    def done(self) -> bool:
        return self._task.done()

    def __await__(self) -> Generator[Any, None, None]:
        return asyncio.shield(self._task).__await__()

    async def aclose(self) -> None:
        """Stop publishing it."""
        self._task.cancel()
        await asyncio.wait((self._task,))


class Input:
    """The way into the pipeline: one publisher, made anew when its connection is lost."""

    def __init__(self, url: str, tls: TLS, outputs: Mapping[str, Any], over: asyncio.Event) -> None:
        self.url = url
        self._over = over
        self.reconnects = 0
        self._tls, self._outputs = tls, outputs
        self._transport: TricklePublisher | None = None
        self._media: MediaPublisher | None = None
        self._last: MediaPublisherStats | None = None
        self._lock = asyncio.Lock()

    @property
    def stats(self) -> MediaPublisherStats | None:
        """Of the publisher that is open, else of the last one."""
        return self._media.stats if self._media else self._last

    async def write(self, frame: Frame) -> None:
        """Encode and send one frame; goes on with the next where a connection is lost."""
        await self._persist(self._opened_media, lambda publisher: publisher.write(frame))

    async def write_segment(self, data: bytes) -> None:
        """Send one whole segment of MPEG-TS."""

        async def send(publisher: TricklePublisher) -> None:
            async with publisher.segment() as segment:
                await segment.write(data)

        await self._persist(self._opened, send)

    async def aclose(self, *, end: bool) -> None:
        """Send what is left; `end` ends the channel, so that the pipeline sees the end."""
        async with self._lock:
            self._last = self.stats
            transport, self._transport = self._transport, None
            publisher, self._media = self._media, None
            if transport is None:
                if end:
                    transport = TricklePublisher(self.url, tls=self._tls, linger=0)
                    await transport.__aenter__()
                else:
                    return
            transport.delete_on_close = end
            await (publisher or transport).aclose()

    async def _persist(
        self, opened: Callable[[], Awaitable[T]], use: Callable[[T], Awaitable[None]]
    ) -> None:
        lost_since: float | None = None
        while True:
            try:
                await use(await opened())
                return
            except SegmentFailed as error:
                log.warning("a segment of %s was cut: %s", self.url, error)
                return  # sent at most once: the next frame goes on
            except CertificateError:
                raise
            except TrickleConnectionError as error:
                now = time.monotonic()
                lost_since = lost_since or now
                if now - lost_since > OUTAGE or self._over.is_set():
                    raise
                log.warning("publishing again after a lost connection: %s", error)
                self.reconnects += 1
                await self._drop()
                await asyncio.sleep(PAUSE)

    async def _opened(self) -> TricklePublisher:
        async with self._lock:
            if self._transport is None:
                transport = TricklePublisher(self.url, tls=self._tls, delete_on_close=False)
                await transport.__aenter__()
                self._transport = transport
            return self._transport

    async def _opened_media(self) -> MediaPublisher:
        async with self._lock:
            if self._media is None:
                library = media()
                transport = TricklePublisher(self.url, tls=self._tls, delete_on_close=False)
                publisher = library.MediaPublisher(self.url, publisher=transport, **self._outputs)
                await publisher.__aenter__()
                self._transport, self._media = transport, publisher
            assert self._media is not None
            return self._media

    async def _drop(self) -> None:
        async with self._lock:
            self._last = self.stats
            transport, self._transport = self._transport, None
            publisher, self._media = self._media, None
            if transport is not None:
                transport.delete_on_close = False
                await (publisher or transport).aclose()


class Frames:
    """Frames that come out of the pipeline: an asynchronous iterator with `aclose()`."""

    def __init__(
        self,
        url: str,
        tls: TLS,
        over: asyncio.Event,
        ended: Callable[[], SessionEndedError | None],
        **options: Any,
    ) -> None:
        self._url, self._tls, self._options = url, tls, options
        self._over, self._ended = over, ended
        self._subscriber: MediaSubscriber | None = None
        self._closed = self._lost = False
        self._waiting: asyncio.Timeout | None = None
        self._last: SourceStats | None = None
        self.reconnects = 0

    @property
    def stats(self) -> SourceStats | None:
        """Of the subscriber that is open, else of the last one."""
        return self._subscriber.stats if self._subscriber else self._last

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        lost_since: float | None = None
        while not self._closed:
            try:
                if self._subscriber is None:
                    subscriber = media().MediaSubscriber(self._url, tls=self._tls, **self._options)
                    await subscriber.__aenter__()
                    self._subscriber = subscriber
                async with asyncio.timeout(VERDICT if self._lost else None) as self._waiting:
                    frame = await anext(self._subscriber)
                return frame  # type: ignore[return-value]  # packets are not asked for
            except StopAsyncIteration:
                break
            except (ChannelNotFound, ChannelClosed, CertificateError):
                break
            except TrickleConnectionError as error:
                now = time.monotonic()
                lost_since = lost_since or now
                if self._ended() is not None or now - lost_since > OUTAGE:
                    break
                log.warning("subscribing again after a lost connection: %s", error)
                self.reconnects += 1
                await self._drop()
                self._options["start"] = "current"
                await asyncio.sleep(PAUSE)
            except TimeoutError:
                break
            finally:
                self._waiting = None
        await self.aclose()
        await self._settled()
        if (ended := self._ended()) is not None:
            raise ended
        raise StopAsyncIteration

    def lose(self) -> None:
        """The session is lost, so perhaps nobody will ever end the channel: take what is there."""
        self._lost = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time() + VERDICT)

    async def aclose(self) -> None:
        """Stop receiving."""
        self._closed = True
        await self._drop()

    async def _settled(self) -> None:
        """Pictures end a moment before the events say why."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(VERDICT):
                await self._over.wait()

    async def _drop(self) -> None:
        self._last = self.stats
        subscriber, self._subscriber = self._subscriber, None
        if subscriber is not None:
            await subscriber.aclose()


async def frames_of_file(path: str | os.PathLike[str], realtime: bool) -> AsyncGenerator[Frame]:
    """The frames of a media file, decoded on a thread; `realtime`: as fast as they are shown."""
    frames = media().decode(path)
    begun: float | None = None
    first: Any = None
    try:
        while (frame := await asyncio.to_thread(next, frames, None)) is not None:
            if realtime:
                now = time.monotonic()
                if begun is None:
                    begun, first = now, frame.time
                wait = begun + float(frame.time - first) - now
                if wait > 0:
                    await asyncio.sleep(wait)
            yield frame
    finally:
        frames.close()


async def each(items: AsyncIterable[T] | Iterable[T]) -> AsyncGenerator[T]:
    """Either kind of iterable, as an asynchronous one."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
            await asyncio.sleep(0)  # a long list must not hold the loop up


def as_frame(item: Any) -> Frame:
    """A frame, also from a numpy picture (H, W, 3) RGB, which is given its time when it is sent."""
    if hasattr(item, "dtype") and hasattr(item, "ndim"):
        frame: Frame = media().VideoFrame.from_ndarray(item)
        return frame
    return item  # type: ignore[no-any-return]
