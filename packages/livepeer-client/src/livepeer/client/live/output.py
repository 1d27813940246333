"""Media out of a live session: opened at first use, and again after a lost connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, cast

from livepeer.client.live.ending import Ending
from livepeer.client.live.media import Returned, media
from livepeer.client.live.outage import Outage
from livepeer.trickle.exceptions import (
    CertificateError,
    ChannelClosed,
    ChannelNotFound,
    TrickleError,
)
from livepeer.trickle.types import TLS

if TYPE_CHECKING:
    from livepeer.trickle.media import MediaSubscriber, SourceStats

F_co = TypeVar("F_co", covariant=True)

VERDICT: Final = 3.0
"""How long the end of the pictures waits for the reason, in seconds."""
ORDERLY: Final = 10.0
"""How long nothing may come of a stream that ended in good order, in seconds: its channel has
its end before that is told, unless it was lost, or is kept open."""


class Frames(Generic[F_co]):
    """The frames of `LiveSession.subscribe`: an asynchronous iterator with `aclose()`."""

    def __init__(
        self, url: str, tls: TLS, ending: Ending, returned: Returned, **options: Any
    ) -> None:
        self._url, self._tls, self._options = url, tls, options
        self._ending, self._returned = ending, returned
        self._subscriber: MediaSubscriber | None = None
        self._closed = False
        self._limit: float | None = None
        self._waiting: asyncio.Timeout | None = None
        self._last: SourceStats | None = None
        self.outage = Outage("the frames of the stream are read again", ending)
        ending.listen(self._over)

    @property
    def stats(self) -> SourceStats | None:
        """Of the subscriber that is open, else of the last one."""
        return self._subscriber.stats if self._subscriber else self._last

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> F_co:
        self.outage.reached()
        while not self._closed:
            try:
                subscriber = self._subscriber
                if subscriber is None:
                    subscriber = media().MediaSubscriber(self._url, tls=self._tls, **self._options)
                    await subscriber.__aenter__()
                    self._subscriber = subscriber
                async with asyncio.timeout(self._limit) as self._waiting:
                    frame = await anext(subscriber)
                if frame.kind == "video":
                    self._returned.came(frame.time)
                return cast(F_co, frame)
            except StopAsyncIteration:
                break
            except (ChannelNotFound, ChannelClosed, CertificateError):
                break
            except TrickleError as error:
                if self.outage.lost(error):
                    break
                if self._subscriber is not None and self._subscriber.position is not None:
                    # Not at "current", where pictures that were handed out would come again.
                    self._options["start"] = self._subscriber.position
                await self._drop()
                await self.outage.pause()
            except TimeoutError:
                break
            finally:
                self._waiting = None
        if not self._closed:
            await self.aclose()
            await self._settled()
        if (ended := self._ending.error()) is not None:
            raise ended
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop receiving."""
        self._closed = True
        await self._drop()

    def _over(self) -> None:
        """Of a session that is over perhaps nobody will end the channel: take what is there."""
        self._limit = VERDICT if self._ending.lost else ORDERLY
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time() + self._limit)

    async def _settled(self) -> None:
        """Pictures end a moment before the events say why."""
        try:
            async with asyncio.timeout(VERDICT):
                await self._ending.wait()
        except TimeoutError:
            pass

    async def _drop(self) -> None:
        self._last = self.stats
        subscriber, self._subscriber = self._subscriber, None
        if subscriber is not None:
            await subscriber.aclose()
