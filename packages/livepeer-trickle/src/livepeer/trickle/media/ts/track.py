"""What every track of a stream has in common: its counters and its seam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from livepeer.trickle.media.frame import Item
from livepeer.trickle.media.ts.pes import ElementaryPacket
from livepeer.trickle.media.ts.psi import Track


@dataclass(slots=True)
class DecoderStats:
    """What became of a stream, all counted since its start."""

    bytes: int = 0
    video_frames: int = 0
    audio_frames: int = 0
    packets: int = 0
    """Units of a track that passes through undecoded."""
    lost_packets: int = 0
    """Transport packets that never came, at least."""
    damaged: int = 0
    """Pictures and audio frames that came incomplete, or that the decoder refused or had to
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
    track: Track

    def push(self, packet: ElementaryPacket) -> Sequence[Item]: ...

    def lose(self) -> Sequence[Item]: ...

    def flush(self) -> Sequence[Item]: ...
