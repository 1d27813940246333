"""What an encoder gives out, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Piece(NamedTuple):
    """Bytes to be sent now. `new_segment`: they are the first ones of the next segment."""

    data: bytes
    new_segment: bool


@dataclass(slots=True)
class EncoderStats:
    """Counts since the encoder was made."""

    frames: int = 0
    """Frames and packets taken in."""
    encoded: int = 0
    """Encoded frames put out, passed-through packets included."""
    segments: int = 0
    late: int = 0
    """Left out: not later than the one before it of its track."""
    skipped: int = 0
    """Left out: above the frame rate asked for, of a track that is off, or before a keyframe."""
    timelines: int = 0
    """Times that the clock of the input jumped back."""
    reopened: int = 0
    """Times that the video encoder was opened anew because the input changed."""
