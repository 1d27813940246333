"""A trickle channel that an app opened for its caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from livepeer.client.apps.parts import Parts
from livepeer.client.live.media import media
from livepeer.trickle import JSONLPublisher, JSONLSubscriber, TricklePublisher, TrickleSubscriber
from livepeer.trickle.types import TLS

if TYPE_CHECKING:
    # What comes with PyAV.
    from livepeer.trickle.media import MediaPublisher, MediaSubscriber


class AppChannel:
    """A channel of a session; made by `AppSession.channel`.

    Each method makes one end of it, as `livepeer.trickle` has it, to be used by `async with`; its
    arguments are that class's own. What is still open is closed with the session. Publishers delete
    the channel when they are closed, so that its readers end: with `delete_on_close=False` it stays
    for another one.
    """

    def __init__(
        self,
        url: str,
        mime_type: str,
        tls: TLS,
        parts: Parts,
        delete: Callable[[], Awaitable[None]],
    ) -> None:
        self.url = url
        """Its address, which is all that is needed to use it: a credential."""
        self.mime_type = mime_type
        """What its segments are."""
        self._tls, self._parts, self._delete = tls, parts, delete

    def __repr__(self) -> str:
        return f"AppChannel({self.mime_type!r})"

    def publisher(self, **options: Any) -> TricklePublisher:
        """To write segments of bytes."""
        options.setdefault("mime_type", self.mime_type)
        return self._parts.see(TricklePublisher(self.url, tls=self._tls, **options))

    def subscriber(self, **options: Any) -> TrickleSubscriber:
        """To read segments of bytes."""
        return self._parts.see(TrickleSubscriber(self.url, tls=self._tls, **options))

    def record_publisher(self, **options: Any) -> JSONLPublisher:
        """To write JSON objects."""
        return self._parts.see(JSONLPublisher(self.url, tls=self._tls, **options))

    def record_subscriber(self, **options: Any) -> JSONLSubscriber:
        """To read JSON objects."""
        return self._parts.see(JSONLSubscriber(self.url, tls=self._tls, **options))

    def media_publisher(self, **options: Any) -> MediaPublisher:
        """To write `VideoFrame` and `AudioFrame` (extra `media`)."""
        publisher: MediaPublisher = media().MediaPublisher(self.url, tls=self._tls, **options)
        return self._parts.see(publisher)

    def media_subscriber(self, **options: Any) -> MediaSubscriber:
        """To read `VideoFrame` and `AudioFrame` (extra `media`)."""
        subscriber: MediaSubscriber = media().MediaSubscriber(self.url, tls=self._tls, **options)
        return self._parts.see(subscriber)

    async def delete(self) -> None:
        """End the channel: its readers end. One that is gone already is no error; raises a
        `LivepeerError` where the orchestrator does not delete it."""
        await self._delete()
