"""What the encoder is asked to make. Plain values: nothing here imports a codec library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from livepeer.trickle.media.ts.audio_headers import ADTS_RATES

_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
)
_AAC_RATES = ADTS_RATES[:-1]
"""FFmpeg's encoder has all that ADTS can tell, but the lowest."""
_OPUS_RATES = (48_000, 24_000, 16_000, 12_000, 8_000)


class EncoderUnavailable(RuntimeError):
    """The encoder that was asked for does not open on this machine; the message says why."""

    code = "encoder_unavailable"


@dataclass(frozen=True, slots=True)
class VideoOutput:
    """How video is encoded: H.264 in MPEG-TS, one frame in, one frame out, no B-frames.

    By default size, frame rate and colour follow the input, also where they change in mid-stream.

    - `codec`: `"auto"` (a hardware encoder where one opens, else x264), `"libx264"`, or a
      hardware encoder by FFmpeg's name (`"h264_nvenc"`). Where one that is named does not open,
      the first frame raises `EncoderUnavailable`.
    - `bitrate`: bits per second, averaged over a second. `None`: constant quality; a stream
      that goes above 0.3 bits per pixel is held below that from its next keyframe on.
    - `gop_seconds`: distance of keyframes, and so the length of a segment.
    - `fps`: at most so many frames per second; frames in excess are left out, none is invented.
    - `width`, `height`: in pixels, even. With one of them the aspect ratio is kept. Without
      either, an odd input loses its last column or row: 4:2:0 has even sizes only.
    - `preset`: speed of the encoder, by x264's names.
    - `threads`: slice threads; `None`: one for each 1280×360 pixels, four at most and no more
      than there are cores, so that many small streams share these well and a large one is fast:
      two encode a picture of 1280×720 in half the time, for a tenth more work. x264's
      two write two slices each, which decoders share out.
    """

    codec: str = "auto"
    bitrate: int | None = None
    gop_seconds: float = 1.0
    fps: int | float | Fraction | None = None
    width: int | None = None
    height: int | None = None
    preset: str = "ultrafast"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch("auto|libx264|h264_[a-z0-9]+", str(self.codec)):
            raise ValueError(
                f"codec {self.codec!r}: expected 'auto', 'libx264' or a hardware encoder "
                "such as 'h264_nvenc'"
            )
        _whole("bitrate", self.bitrate, 1_000, "bits per second")
        _number("gop_seconds", self.gop_seconds, 0.1, 60)
        if self.fps is not None:
            _number("fps", self.fps, 0.1, 1000)
        for name, value in (("width", self.width), ("height", self.height)):
            _whole(name, value, 16, "pixels", most=16_384)
            if value is not None and value % 2:
                raise ValueError(f"{name} {value}: 4:2:0 video has even sizes only")
        if self.preset not in _PRESETS:
            raise ValueError(f"preset {self.preset!r}: expected one of {', '.join(_PRESETS)}")
        _whole("threads", self.threads, 1, "threads", most=64)


@dataclass(frozen=True, slots=True)
class AudioOutput:
    """How audio is encoded. Frames of any rate and layout are resampled to those of the first.

    - `codec`: `"aac"` (AAC-LC in ADTS) or `"libopus"` (`"opus"` is the same), the two that
      go-livepeer's gateway takes in MPEG-TS. `"auto"`: Opus where the publisher was told that the
      sound was decoded from Opus, else AAC. That gateway takes in and plays WebRTC in Opus alone,
      RTMP in AAC.
    - `bitrate`: bits per second; `None`: 96,000 for mono and 128,000 for stereo with AAC,
      48,000 and 96,000 with Opus.
    - `rate`: Hz; `None`: that of the first frame where the codec has it, else 48,000.
    - `layout`: `"mono"` or `"stereo"`; `None`: mono stays mono, all else becomes stereo.
    """

    codec: Literal["auto", "aac", "libopus", "opus"] = "auto"
    bitrate: int | None = None
    rate: int | None = None
    layout: Literal["mono", "stereo"] | None = None

    def __post_init__(self) -> None:
        if self.codec not in ("auto", "aac", "libopus", "opus"):
            raise ValueError(f"codec {self.codec!r}: expected 'auto', 'aac' or 'libopus'")
        _whole("bitrate", self.bitrate, 6_000, "bits per second", most=512_000)
        if self.rate is not None and self.rate not in self.rates:
            raise ValueError(
                f"rate {self.rate!r}: {'aac' if self.codec == 'auto' else self.codec} takes "
                f"{', '.join(str(rate) for rate in sorted(self.rates))} Hz"
            )
        if self.layout not in (None, "mono", "stereo"):
            raise ValueError(f"layout {self.layout!r}: expected 'mono' or 'stereo'")

    @property
    def rates(self) -> tuple[int, ...]:
        """The sample rates that the codec takes, in Hz."""
        return _OPUS_RATES if self.codec in ("libopus", "opus") else _AAC_RATES


def _whole(name: str, value: object, least: int, unit: str, *, most: int | None = None) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} {value!r}: expected a whole number of {unit}")
    if value < least or (most is not None and value > most):
        limits = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} {value}: expected {limits} {unit}")


def _number(name: str, value: object, least: float, most: float) -> None:
    if not isinstance(value, int | float | Fraction) or isinstance(value, bool):
        raise TypeError(f"{name} {value!r}: expected a number")
    if not least <= value <= most:
        raise ValueError(f"{name} {value}: expected {least:g} to {most:g}")
