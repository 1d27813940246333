"""What belongs to one stream and to no other: its copy of the pipeline, its channels, its state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self

from livepeer.runner.author.live_pipeline import LivePipeline
from livepeer.runner.errors import PipelineError
from livepeer.runner.live.failures import ErrorBudget, StreamFailed
from livepeer.runner.live.hooks import HookCaller
from livepeer.runner.live.outbox import Outbox
from livepeer.runner.live.request import ChannelUrls, StartRequest
from livepeer.runner.live.status import StreamFigures, StreamStatus
from livepeer.trickle import JSONLPublisher, JSONLSubscriber, TrickleError, TricklePublisher
from livepeer.trickle.media import AudioFrame, VideoFrame
from livepeer.trickle.types import TLS

if TYPE_CHECKING:
    from livepeer.trickle.media import MediaPacket, MediaPublisher
    from livepeer.trickle.media.publisher import LentEncoder

EVENTS_WAITING = 128
"""Events that wait for their channel; the oldest gives way."""
RECORDS_WAITING = 4096
"""Records that wait for the data channel; the oldest gives way."""
DATA_IDLE_SECONDS = 60.0
DRAIN_SECONDS = 5.0
"""What an output gets at the end of a stream to bring its last frames out."""


class FlowProtocol(Protocol):
    """The way of a stream's frames, as its session sees it: `Flow` or `RelayFlow`."""

    @property
    def bytes_in(self) -> int:
        """Bytes of input so far: they grow as long as somebody sends."""

    @property
    def segments_in(self) -> int: ...

    def stop(self) -> None:
        """Take no more input; what is in hand is finished."""

    def refresh(self) -> None:
        """Bring the counters of the status up to date."""

    async def run(self) -> None:
        """Until the input ends or `stop`. Raises `StreamFailed` with the reason."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The parts of one stream that its session and its flow share."""

    request: StartRequest
    copy: LivePipeline
    """The stream's own object of the pipeline."""
    status: StreamStatus
    caller: HookCaller
    budget: ErrorBudget
    channels: Channels
    events: Outbox
    data: Outbox

    @property
    def emitted(self) -> bool:
        """Whether the pipeline has emitted records, or events of its own."""
        return self.data.posted > 0 or self.events.posted > 0

    def figures(self) -> StreamFigures:
        """The totals so far."""
        return self.status.figures(self.events, self.data)


class Channels:
    """Opens the trickle channels of one stream; who uses a channel closes it.

    `linger` is how many seconds the publishers keep a channel at its end, for readers that are
    behind.
    """

    def __init__(self, urls: ChannelUrls, tls: TLS, *, linger: float) -> None:
        self._urls = urls
        self._tls = tls
        self._linger = linger
        self._delete = True
        self._publishers: dict[str, TricklePublisher] = {}
        """The newest of each URL: one that is lost is opened again."""

    def leave_open(self) -> None:
        """Delete none of them at the end: another session has taken the names over."""
        self._delete = False
        for publisher in self._publishers.values():
            publisher.delete_on_close = False

    def nobody_behind(self) -> None:
        """Delete them at the end without waiting for readers: nobody reads them any more."""
        self._linger = 0.0
        for publisher in self._publishers.values():
            publisher.skip_linger()

    def events(self) -> Outbox:
        url = self._urls.events_url
        return Outbox(
            "events",
            None if url is None else lambda again: self._records(url, alone=True, create=again),
            size=EVENTS_WAITING,
        )

    def data(self) -> Outbox:
        url = self._urls.data_url
        return Outbox(
            "data",
            None if url is None else lambda again: self._records(url, alone=False, create=again),
            size=RECORDS_WAITING,
            idle_seconds=DATA_IDLE_SECONDS,
        )

    def control(self) -> JSONLSubscriber | None:
        if self._urls.control_url is None:
            return None
        # From its first message: the channel is as new as the stream, and a gateway that changed
        # orchestrators writes the last update at once, which may be before we listen.
        return JSONLSubscriber(self._urls.control_url, start=0, keepalives=True, tls=self._tls)

    def output(self) -> TricklePublisher | None:
        if self._urls.publish_url is None:
            return None
        publisher = TricklePublisher(
            self._urls.publish_url,
            delete_on_close=self._delete,
            linger=self._linger,
            tls=self._tls,
        )
        self._publishers[publisher.url] = publisher
        return publisher

    def _records(self, url: str, *, alone: bool, create: bool) -> JSONLPublisher:
        # An orchestrator refuses to make one; servers that do not may have swept it.
        publisher = JSONLPublisher(
            url,
            one_per_segment=alone,
            create=create,
            delete_on_close=self._delete,
            linger=self._linger,
            tls=self._tls,
        )
        self._publishers[url] = publisher.transport
        return publisher


class Sink:
    """Where a stream's frames go: to its output channel, or nowhere if it has none.

    Closing it brings the last frame out.
    """

    def __init__(self, cls: type[LivePipeline], publisher: TricklePublisher | None) -> None:
        self._cls = cls
        self._channel = publisher
        self._media: MediaPublisher | None = None
        self._lend: Callable[[], LentEncoder | None] = lambda: None

    async def __aenter__(self) -> Self:
        if self._channel is not None:
            from livepeer.trickle.media import AudioOutput, MediaPublisher, VideoOutput
            from livepeer.trickle.media.publisher import lend_encoder

            media = MediaPublisher(
                self._channel.url,
                output=self._cls.output or VideoOutput(),
                audio=self._cls.audio_output or AudioOutput(),
                on_stall="drop" if self._cls.realtime else "wait",
                drain_timeout=DRAIN_SECONDS,
                publisher=self._channel,
            )
            with _as_failure():
                self._media = await media.__aenter__()
            self._lend = partial(lend_encoder, media)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._media is not None:
            await self._media.aclose()

    def expect_sound(self, codec: str, channels: int, *, decoded: bool) -> None:
        """Say that sound will come, undecoded in `codec` or decoded from it."""
        if self._media is not None:
            self._media.expect("audio", codec, channels=channels, decoded=decoded)

    async def write(self, item: VideoFrame | AudioFrame | MediaPacket) -> None:
        """Encode and send one frame or packet.

        Raises `StreamFailed` if the channel is gone; `ValueError`, `TypeError` or
        `EncoderUnavailable` for a frame that cannot be encoded.
        """
        if self._media is not None:
            with _as_failure():
                await self._media.write(item)

    def lend(self) -> LentEncoder | None:
        """Its encoder, for the next frame, where that would be sent at once."""
        return self._lend()

    @property
    def dropped(self) -> int:
        """Frames left out because the network was behind."""
        return self._media.stats.dropped if self._media is not None else 0


class _as_failure:
    """A lost output channel ends the stream, with this reason."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: Any, traceback: Any) -> None:
        if isinstance(error, TrickleError):
            raise StreamFailed(f"the output channel is lost: {error.message}") from error


def check_frame(value: object) -> VideoFrame | AudioFrame:
    """The same frame. Raises `PipelineError` that says what a hook may return."""
    if isinstance(value, VideoFrame | AudioFrame):
        return value
    raise PipelineError(
        f"it returned {type(value).__name__}: return a frame, frame.replace(array), None, "
        "or an iterable of frames"
    )
