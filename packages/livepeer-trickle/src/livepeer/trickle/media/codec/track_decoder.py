"""What the decoders of all tracks share: their interface, their counters, how FFmpeg's open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from av import CodecContext

from livepeer.trickle.media.codec import gpu
from livepeer.trickle.media.frame import Item
from livepeer.trickle.media.frame.pixels import MAX_PIXELS, allowance
from livepeer.trickle.media.ts.codecs import CODECS
from livepeer.trickle.media.ts.units import AccessUnit, ElementaryPacket, Track


@dataclass(slots=True)
class DecoderStats:
    """Counts of a decoded stream since its start."""

    bytes: int = 0
    video_frames: int = 0
    audio_frames: int = 0
    packets: int = 0
    """Units of a track that passes through undecoded."""
    lost_packets: int = 0
    """Transport packets that did not arrive (188 bytes each), at least."""
    damaged: int = 0
    """Pictures and audio frames that arrived incomplete, or that the decoder refused or had to
    patch."""
    skipped: int = 0
    """Pictures left out between a loss and the next keyframe."""
    resyncs: int = 0
    """How often a track found its way back after a loss."""
    discontinuities: int = 0
    """Announced losses (segments that the subscriber could not get)."""
    track_changes: int = 0
    """How often the set of tracks, or the codec of one, changed."""
    clock_restarts: int = 0
    """How often the source's clock jumped."""


class TrackDecoder(Protocol):
    """Turns the packets of one track into frames, or into packets that pass through."""

    track: Track

    def push(self, packet: ElementaryPacket) -> Sequence[Item]:
        """What became ready with this packet."""

    def lose(self) -> Sequence[Item]:
        """Something is missing here: what is whole, before decoding goes on at a keyframe."""

    def flush(self) -> Sequence[Item]:
        """The rest, at the end of the track."""


def open_video(codec: str, device: str | None, threads: int, max_pixels: int | None = None) -> Any:
    """A decoder of `codec`, on `device` where it can; `threads`: slice threads."""
    context = None if device is None else gpu.decoder(codec, device)
    if context is None:
        context = CodecContext.create(codec, "r")
        # Slices, not frames: frame threads hold back one picture for each thread.
        context.thread_type = "SLICE"
        context.thread_count = threads
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    context.options = context.options | {"max_pixels": allowance(limit)}
    return context


def open_audio(track: Track, unit: AccessUnit) -> Any:
    """A decoder for the units of `track`, of which `unit` is the first."""
    codec = CODECS[track.codec]
    name = codec.name if codec.decoder is None else codec.decoder(unit.data)
    context: Any = CodecContext.create(name, "r")
    if codec.extradata is not None:
        context.extradata = codec.extradata(track.channels)
    return context


def picture_size(codec: str, context: Any, data: bytes) -> tuple[int, int]:
    """Width and height of the keyframe that `context` was given last; 0 where nothing tells."""
    if context.width:
        return context.width, context.height
    # Some decoders forget what they refuse.
    return CODECS[codec].syntax.size(data)
