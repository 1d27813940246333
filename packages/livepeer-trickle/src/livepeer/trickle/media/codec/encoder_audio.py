"""One audio track: sound of any rate and layout in, AAC or Opus frames of one rate out."""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from livepeer.trickle.media.codec.outputs import AudioOutput, EncoderUnavailable
from livepeer.trickle.media.frame import AudioFrame, AudioResampler
from livepeer.trickle.media.ts.audio_headers import adts_header
from livepeer.trickle.media.ts.units import EncodedFrame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]


JITTER = Fraction(2, 1000)
"""Times this close to where the last samples ended continue them: rounded clocks jitter."""

GAP = Fraction(100, 1000)
"""A larger gap ends the codec's frame early, with silence; a smaller one shifts the frames'
times."""

OVERLAP = Fraction(10, 1000)
"""Sound that begins up to so much before the end of the last is shifted; of more, the part that
is there already is left out: encoded frames last 10 ms and more, and so their times never go
back."""

LOUDEST = 1e6
"""Codecs fail where samples are not finite, or nearly so, and would keep them for the next
frame."""

_BITRATES = {("aac", 1): 96_000, ("aac", 2): 128_000, ("opus", 1): 48_000, ("opus", 2): 96_000}
"""Bits per second. FFmpeg's AAC does with 64,000 a channel where two have much in common; one
alone sounds dull with that: at 96,000 it keeps 2 kHz more."""


class AudioEncoder:
    """Cuts sound into the codec's frames and encodes them; rate and layout stay as they began.

    Times follow the input's: each encoded frame carries the time of its first sample, the codec's
    own delay taken off, so sound stays in sync with pictures through gaps and clock drift.
    """

    def __init__(self, output: AudioOutput) -> None:
        self.output = output
        self.channels = 0
        self.rate = 0
        self._context: AudioCodecContext | None = None
        self._resampler: AudioResampler | None = None
        self._waiting: deque[Samples] = deque()
        self._held = 0
        self._end = Fraction(0)
        self._count = 0
        self._times: deque[tuple[int, Fraction]] = deque(maxlen=16)

    @property
    def codec(self) -> str:
        """FFmpeg's name of what is made."""
        return "opus" if self.output.codec in ("libopus", "opus") else "aac"

    def follow(self, codec: str | None, channels: int) -> None:
        """Say what the sound was decoded from, before its first frame."""
        if self._context is None:
            if self.output.codec == "auto" and codec == "opus":
                with contextlib.suppress(ValueError):  # a rate that only AAC has
                    self.output = replace(self.output, codec="libopus")
            self.channels = self._channels("mono" if channels == 1 else "")

    def encode(
        self, frame: AudioFrame, time: Fraction, *, restarts: bool = False
    ) -> list[EncodedFrame]:
        """The encoded frames that `frame`, which begins at `time` seconds, completes.

        `restarts`: its time belongs to a new timeline, and may be anything.
        Raises `ValueError` for samples that are no numbers, of which nothing is taken.
        """
        peak = np.abs(frame.samples).max(initial=0)
        if not peak < LOUDEST:
            raise ValueError(
                f"samples of {frame!r} reach {peak}: "
                "they have to be finite, nominally within -1 and 1"
            )
        if self._context is None:
            self._open(frame)
        assert self._resampler is not None
        units: list[EncodedFrame] = []
        if restarts:
            units = self._drain_resampler() + self._pad()
            self._end = time
        if (frame.rate, frame.layout) == (self.rate, self._resampler.layout):
            units += self._drain_resampler()
            return units + self._take(frame.samples, time)
        if frame.pts is None:
            frame = frame.replace(frame.samples)
            frame.time = time
        for part in self._resampler.resample(frame):
            units += self._take(part.samples, part.time)
        return units

    def flush(self) -> list[EncodedFrame]:
        """The rest, its last frame filled up with silence; the next frame opens a new encoder."""
        if self._context is None:
            return []
        units = self._drain_resampler() + self._pad()
        units += self._timed(self._context.encode(None))
        self._context = self._resampler = None
        self._count, self._held = 0, 0
        self._times.clear()
        return units

    def _channels(self, layout: str) -> int:
        return 1 if (self.output.layout or layout) == "mono" else 2

    def _open(self, frame: AudioFrame) -> None:
        output = self.output
        self.rate = output.rate or (frame.rate if frame.rate in output.rates else 48_000)
        self.channels = self._channels(frame.layout)
        layout = "mono" if self.channels == 1 else "stereo"
        name = "aac" if self.codec == "aac" else "libopus"
        context = cast(AudioCodecContext, av.CodecContext.create(name, "w"))
        context.sample_rate = self.rate
        context.layout = layout
        context.format = "fltp" if self.codec == "aac" else "flt"
        context.time_base = Fraction(1, self.rate)
        context.bit_rate = output.bitrate or _BITRATES[self.codec, self.channels]
        try:
            context.open()
        except av.FFmpegError as error:
            raise EncoderUnavailable(
                f"{name} does not open at {self.rate} Hz, {layout}: {error}. "
                "Ask for another rate or codec with AudioOutput(...)."
            ) from error
        self._context = context
        self._resampler = AudioResampler(rate=self.rate, layout=layout)

    def _take(self, samples: Samples, time: Fraction) -> list[EncodedFrame]:
        units: list[EncodedFrame] = []
        gap = time - self._end
        if not self._count and not self._held:
            self._end = time
        elif gap > GAP:
            units = self._pad()
            self._end = time
        elif gap < -OVERLAP:
            samples = samples[:, round(-gap * self.rate) :]
            if not samples.size:
                return units
        elif abs(gap) > JITTER:
            self._end = time
        self._waiting.append(samples)
        self._held += samples.shape[1]
        self._end += Fraction(samples.shape[1], self.rate)
        assert self._context is not None
        size = self._context.frame_size
        if self._held >= size:
            joined = np.concatenate(self._waiting, axis=1) if len(self._waiting) > 1 else samples
            begin = 0
            while self._held >= size:
                start = self._end - Fraction(self._held, self.rate)
                units += self._feed(joined[:, begin : begin + size], start)
                begin += size
                self._held -= size
            self._waiting.clear()
            if self._held:
                # A copy: the caller may write into his samples once this frame is taken.
                self._waiting.append(joined[:, begin:].copy())
        else:
            self._waiting[-1] = samples.copy()
        return units

    def _pad(self) -> list[EncodedFrame]:
        if not self._held:
            return []
        assert self._context is not None
        samples = np.zeros((self.channels, self._context.frame_size), np.float32)
        np.concatenate(self._waiting, axis=1, out=samples[:, : self._held])
        start = self._end - Fraction(self._held, self.rate)
        self._waiting.clear()
        self._held = 0
        return self._feed(samples, start)

    def _drain_resampler(self) -> list[EncodedFrame]:
        assert self._resampler is not None
        units = []
        for part in self._resampler.flush():
            units += self._take(part.samples, part.time)
        return units

    def _feed(self, samples: Samples, start: Fraction) -> list[EncodedFrame]:
        """Encode exactly one frame of the codec, whose first sample is heard at `start`."""
        assert self._context is not None
        layout = "mono" if self.channels == 1 else "stereo"
        if self.codec == "aac":
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
        else:
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples.T).reshape(1, -1), "flt", layout
            )
        frame.sample_rate = self.rate
        frame.pts, frame.time_base = self._count, Fraction(1, self.rate)
        self._times.append((self._count, start))
        self._count += samples.shape[1]
        return self._timed(self._context.encode(frame))

    def _timed(self, packets: list[av.Packet[Any]]) -> list[EncodedFrame]:
        """Sample counts (which begin below zero by the codec's delay) to the input's times."""
        units = []
        for packet in packets:
            assert packet.pts is not None
            count, start = self._times[0]
            for other in self._times:
                if other[0] <= packet.pts:
                    count, start = other
            pts = round((start + Fraction(packet.pts - count, self.rate)) * 90_000)
            data = bytes(packet)
            if self.codec == "aac":
                data = adts_header(len(data), self.rate, self.channels) + data
            units.append(EncodedFrame(data, pts, pts, True))
        return units
