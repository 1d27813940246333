"""Where a stream's frames go: a published channel, or nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from livepeer.runner.errors import PipelineError
from livepeer.runner.live.failures import StreamFailed
from livepeer.trickle import TrickleError, TricklePublisher

if TYPE_CHECKING:
    from livepeer.runner.author.live_pipeline import LivePipeline
    from livepeer.trickle.media import AudioFrame, MediaPacket, MediaPublisher, VideoFrame

DRAIN_SECONDS = 5.0


class Sink:
    """Takes frames until it is closed; then the last one is out."""

    def __init__(
        self,
        cls: type[LivePipeline],
        publisher: TricklePublisher | None,
    ) -> None:
        self._cls = cls
        self._channel = publisher
        self._media: MediaPublisher | None = None

    async def __aenter__(self) -> Self:
        if self._channel is not None:
            from livepeer.trickle.media import AudioOutput, MediaPublisher, VideoOutput

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
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._media is not None:
            await self._media.aclose()

    def expect_sound(self, codec: str, channels: int, *, decoded: bool) -> None:
        """Say that sound will come, undecoded in `codec` or decoded from it."""
        if self._media is not None:
            self._media.expect("audio", codec, channels=channels, decoded=decoded)

    async def write(self, item: VideoFrame | AudioFrame | MediaPacket) -> None:
        """Raises `StreamFailed` where the channel is gone, `ValueError`, `TypeError` or
        `EncoderUnavailable` for what cannot be encoded."""
        if self._media is not None:
            with _as_failure():
                await self._media.write(item)

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
    """What a hook gave is a frame, or this raises an error that says what to return."""
    from livepeer.trickle.media import AudioFrame, VideoFrame

    if isinstance(value, VideoFrame | AudioFrame):
        return value
    raise PipelineError(
        f"it returned {type(value).__name__}: return a frame, frame.replace(array), None, "
        "or an iterable of frames"
    )
