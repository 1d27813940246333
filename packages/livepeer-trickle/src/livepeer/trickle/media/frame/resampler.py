"""Sound at another rate or in other channels, for a whole stream without a seam."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from livepeer.trickle.media.frame.audio import AudioFrame, whole_rate
from livepeer.trickle.media.frame.samples import channels_of, planar

if TYPE_CHECKING:
    import av


class AudioResampler:
    """Resamples a stream of frames without a seam; the times of its output are exact.

    `resample` returns the frames that are ready (the filter holds back a few samples), `flush`
    the rest. A gap of more than a millisecond in the input's times, or a change of its rate or
    layout, flushes and starts again.
    """

    def __init__(self, *, rate: int, layout: str | None = None) -> None:
        if layout is not None:
            channels_of(layout)
        self.rate = whole_rate(rate)
        self.layout = layout
        self._filter: Any = None
        self._of: tuple[int, str] | None = None
        self._next_in: Fraction | None = None
        self._start: Fraction | None = None
        self._made = 0

    def resample(self, frame: AudioFrame) -> list[AudioFrame]:
        """What of the sound is ready, `frame` included; often one frame, sometimes none."""
        if not isinstance(frame, AudioFrame):
            raise TypeError(f"an AudioResampler takes an AudioFrame, not {type(frame).__name__}")
        out: list[AudioFrame] = []
        time = None if frame.pts is None else frame.time
        gap = (
            time is not None
            and self._next_in is not None
            and abs(time - self._next_in) > Fraction(1, 1000)
        )
        if self._filter is not None and (gap or self._of != (frame.rate, frame.layout)):
            out = self.flush()
        if self._filter is None:
            from av.audio.resampler import AudioResampler as Filter

            layout = self.layout or frame.layout
            self._filter = Filter(format="fltp", layout=layout, rate=self.rate)
            self._of = (frame.rate, frame.layout)
            self._start, self._made = time, 0
        source = frame.to_av()
        source.pts = None
        try:
            parts = self._filter.resample(source)
        except ValueError as error:
            # FFmpeg's own; of some layouts it does not know how to mix them.
            self._filter = self._of = self._next_in = None
            raise ValueError(
                f"sound of layout {frame.layout!r} cannot be brought to {self.layout!r}: "
                "choose channels with frame.replace(frame.samples[:2])"
            ) from error
        out += [self._timed(part) for part in parts]
        self._next_in = None if time is None else time + frame.duration
        return out

    def flush(self) -> list[AudioFrame]:
        """The samples that are still held back; the next frame starts afresh."""
        if self._filter is None:
            return []
        out = [self._timed(part) for part in self._filter.resample(None) if part is not None]
        self._filter = self._of = self._next_in = None
        return out

    def _timed(self, part: av.AudioFrame) -> AudioFrame:
        samples = planar(part)
        frame = AudioFrame(samples, rate=part.sample_rate, layout=part.layout.name)
        if self._start is not None:
            frame.time = self._start + Fraction(self._made, self.rate)
        self._made += samples.shape[1]
        return frame
