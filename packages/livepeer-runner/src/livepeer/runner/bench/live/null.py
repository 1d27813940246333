"""Pipelines that return what they get: their latency is that of encoding, decoding and transport.

Each has the hooks that the measured one has, so that the same tracks are decoded and encoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from livepeer.runner.author.live_pipeline import LivePipeline

if TYPE_CHECKING:
    from livepeer.trickle.media import AudioFrame, VideoFrame


class NullPictures(LivePipeline):
    """Decodes and encodes pictures; sound passes."""

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


class NullSound(LivePipeline):
    """Decodes and encodes sound; pictures pass."""

    def process_audio(self, frame: AudioFrame) -> AudioFrame:
        return frame


class NullBoth(LivePipeline):
    """Decodes and encodes pictures and sound."""

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame

    def process_audio(self, frame: AudioFrame) -> AudioFrame:
        return frame


NAMES: Final = {
    (True, False): "NullPictures",
    (False, True): "NullSound",
    (True, True): "NullBoth",
}
"""By whether pictures and sound are processed."""
