"""Encoded media that passes through undecoded: a packet, and what a muxer has to know of its track.

Imports neither av nor numpy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

Kind = Literal["video", "audio"]
"""What a track carries."""


@dataclass(frozen=True, slots=True)
class CodecParameters:
    """What a muxer needs in order to carry packets of a track that it did not encode.

    `codec` is FFmpeg's name (`h264`, `hevc`, `mpeg2video`, `aac`, `opus`, `mp2`).
    Video has `width` and `height` in pixels; audio has `rate` in Hz and `channels`.
    `extradata` is what the codec keeps outside its packets (`OpusHead`), else empty: H.264 and
    HEVC are Annex B with parameter sets in band, AAC is ADTS.
    """

    kind: Kind
    codec: str
    width: int = 0
    height: int = 0
    rate: int = 0
    channels: int = 0
    extradata: bytes = b""

    @property
    def layout(self) -> str:
        """The channel layout by FFmpeg's name, for audio."""
        return {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(self.channels, f"{self.channels}c")


@dataclass(frozen=True, slots=True)
class MediaPacket:
    """One encoded access unit (a picture, or one audio frame) with its exact timing.

    `pts` and `dts` are ticks of `time_base`, on the same timeline as the frames of the tracks
    that are decoded; `duration` is in ticks too, 0 where the stream does not tell.
    A decoder can start at a packet with `is_keyframe` (every audio packet has it).
    """

    data: bytes
    pts: int
    dts: int
    time_base: Fraction
    is_keyframe: bool
    parameters: CodecParameters
    duration: int = 0

    @property
    def kind(self) -> Kind:
        """What is encoded in it: a picture or sound, as `kind` of a frame says."""
        return self.parameters.kind

    @property
    def time(self) -> Fraction:
        """Presentation time in seconds."""
        return self.pts * self.time_base

    def shifted(self, seconds: Fraction) -> MediaPacket:
        """The same packet, later by `seconds` (rounded to its own ticks)."""
        by = round(seconds / self.time_base)
        return replace(self, pts=self.pts + by, dts=self.dts + by)
