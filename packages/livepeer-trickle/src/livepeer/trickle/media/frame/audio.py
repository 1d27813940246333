"""Samples of sound with their exact time, at their own rate or resampled."""

from __future__ import annotations

import operator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from livepeer.trickle.media.frame.clock import MPEG_TIME_BASE, SampleClock, Time, in_ticks, untimed
from livepeer.trickle.media.frame.samples import (
    LAYOUTS,
    as_float,
    channels_of,
    planar,
    sample_format,
    sound_of,
)

if TYPE_CHECKING:
    import av
    from numpy.typing import NDArray

    from livepeer.trickle.media.frame.samples import Samples


class AudioFrame:
    """Samples of all channels, and the time of the first of them.

    `samples` is a writable `float32` array (channels, n), nominally within -1 and 1, whatever
    the source's own format was. `time` is exact seconds on the stream's clock.
    """

    __slots__ = ("_samples", "_source", "_timebase", "layout", "pts", "rate")

    kind: ClassVar[Literal["audio"]] = "audio"
    """What tells sound from a picture (`VideoFrame.kind`)."""
    pts: int | None
    """Presentation time in ticks of `time_base`; `None` while the frame has no time yet."""
    rate: int
    """Samples per second."""
    layout: str
    """Channel layout by FFmpeg's name: `mono`, `stereo`, `5.1`, ..."""

    def __init__(
        self,
        samples: Samples | None,
        *,
        rate: int,
        layout: str,
        pts: int | None = None,
        time_base: Fraction = MPEG_TIME_BASE,
        source: av.AudioFrame | None = None,
    ) -> None:
        """Used by decoders, which give `source` alone; others use `from_ndarray`."""
        self._samples = samples
        self._source = source
        self._timebase = time_base
        self.rate = rate
        self.layout = layout
        self.pts = pts

    @classmethod
    def from_ndarray(
        cls,
        array: NDArray[Any],
        *,
        rate: int,
        layout: str | None = None,
        time: Time | None = None,
    ) -> AudioFrame:
        """A frame of (channels, n) samples, or (n,) for mono.

        Floats are taken as they are (a `float32` array is not copied), `int16`, `int32` and
        `uint8` are scaled to -1..1. `layout` follows from the number of channels where it is
        not given; `time` is seconds. Raises `ValueError` for a shape, rate, layout or time, and
        `TypeError` for a dtype, that does not fit.
        """
        samples = as_float(array)
        rate = _whole_rate(rate)
        if layout is None:
            if len(samples) not in LAYOUTS:
                raise ValueError(f"name the layout of {len(samples)} channels")
            layout = LAYOUTS[len(samples)]
        else:
            _check_channels(samples, layout)
        frame = cls(samples, rate=rate, layout=layout)
        if time is not None:
            frame.time = time
        return frame

    @property
    def samples(self) -> Samples:
        """Writable `float32` (channels, n); what is written is what is encoded.

        Assigning takes an array as `from_ndarray` does, of as many channels as there are.
        """
        if self._samples is None:
            assert self._source is not None
            self._samples = planar(self._source)
            self._source = None
        return self._samples

    @samples.setter
    def samples(self, array: NDArray[Any]) -> None:
        samples = as_float(array)
        _check_channels(samples, self.layout)
        self._samples, self._source = samples, None

    @property
    def format(self) -> str:
        """Sample format of `samples` by FFmpeg's name: always `fltp`."""
        return "fltp"

    @property
    def channels(self) -> int:
        """Number of channels, by the layout."""
        return channels_of(self.layout)

    def __len__(self) -> int:
        """Samples per channel."""
        if self._samples is None:
            assert self._source is not None
            return self._source.samples
        return int(self._samples.shape[1])

    def __bool__(self) -> bool:
        return True

    @property
    def time_base(self) -> Fraction:
        """Seconds of one tick of `pts`."""
        return self._timebase

    @property
    def time(self) -> Fraction:
        """Seconds of the first sample, exact. Assigning any number sets it."""
        if self.pts is None:
            raise untimed()
        return self.pts * self._timebase

    @time.setter
    def time(self, value: Time) -> None:
        self.pts, self._timebase = in_ticks(value)

    @property
    def duration(self) -> Fraction:
        """Seconds."""
        return Fraction(len(self), self.rate)

    def replace(
        self, samples: Any, *, rate: int | None = None, layout: str | None = None
    ) -> AudioFrame:
        """A frame of other samples with this frame's time; rate and layout too, unless given.

        `samples`: as in `from_ndarray`, or a torch tensor. Where the number of channels
        changed and no layout is given, it follows from that number.
        """
        if hasattr(samples, "detach"):
            samples = samples.detach().cpu().numpy()
        array = as_float(samples)
        if layout is None and len(array) == self.channels:
            layout = self.layout
        new = AudioFrame.from_ndarray(
            array, rate=self.rate if rate is None else rate, layout=layout
        )
        new.pts, new._timebase = self.pts, self._timebase
        return new

    def resample(self, *, rate: int | None = None, layout: str | None = None) -> AudioFrame:
        """The same sound at another rate or in other channels, with the same time and duration.

        Each frame is filtered by itself, which costs a little precision at its edges; for a stream
        without seams keep one `AudioResampler` and give it every frame.
        """
        rate = self.rate if rate is None else _whole_rate(rate)
        layout = layout or self.layout
        if (rate, layout) == (self.rate, self.layout):
            return self.replace(self.samples.copy())
        import numpy as np

        one = AudioResampler(rate=rate, layout=layout)
        parts = [part.samples for part in (*one.resample(self), *one.flush())]
        count = round(len(self) * Fraction(rate, self.rate))
        out = np.zeros((channels_of(layout), count), np.float32)
        if parts:
            joined = np.concatenate(parts, axis=1)[:, :count]
            out[:, : joined.shape[1]] = joined
        return self.replace(out, rate=rate, layout=layout)

    def snapshot(self) -> AudioFrame:
        """The sound as it is now, as a frame of its own; what was written is copied."""
        return AudioFrame(
            None if self._samples is None else self._samples.copy(),
            rate=self.rate,
            layout=self.layout,
            pts=self.pts,
            time_base=self._timebase,
            source=self._source,
        )

    def to_av(self) -> av.AudioFrame:
        """The samples as a PyAV frame with this time, for an encoder or a filter.

        Its format is `fltp`; of eight channels and more `flt`, as PyAV 18.1 tells more planes
        than there are for those, and reading them ends the process.
        """
        sound = self._source
        if sound is None or sound.format.name != sample_format(self.channels):
            sound = sound_of(self.samples, self.rate, self.layout)
        sound.pts = self.pts
        sound.time_base = self._timebase
        return sound

    def __repr__(self) -> str:
        time = "untimed" if self.pts is None else f"{float(self.time):.3f} s"
        return f"<AudioFrame {len(self)} samples {self.rate} Hz {self.layout} {time}>"


class AudioResampler:
    """Resamples a stream of frames without a seam; the times of its output are exact.

    `resample` returns the frames that are ready (the filter holds back a few samples), `flush`
    the rest. A gap of more than a millisecond in the input's times, or a change of its rate or
    layout, flushes and starts again.
    """

    def __init__(self, *, rate: int, layout: str | None = None) -> None:
        if layout is not None:
            channels_of(layout)
        self.rate = _whole_rate(rate)
        self.layout = layout
        self._filter: Any = None
        self._of: tuple[int, str] | None = None
        self._next_in: Fraction | None = None
        self._start: Fraction | None = None
        self._made = 0

    def resample(self, frame: AudioFrame) -> list[AudioFrame]:
        """The frames that are ready after `frame`; often one, sometimes none."""
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


def decoded(sound: av.AudioFrame, told: Fraction | None, clock: SampleClock) -> AudioFrame:
    """The frame of a decoder's sound, placed by `clock`; `told`: seconds, as the stream says."""
    pts, base = clock.place(told, sound.samples, sound.sample_rate)
    return AudioFrame(
        None,
        rate=sound.sample_rate,
        layout=sound.layout.name,
        pts=pts,
        time_base=base,
        source=sound,
    )


def _whole_rate(rate: int) -> int:
    """`rate` as an `int`, whatever integer it is, or an error: clocks count in it."""
    try:
        rate = operator.index(rate)
    except TypeError:
        raise TypeError(f"rate {rate!r}: expected a whole number of samples per second") from None
    if rate <= 0:
        raise ValueError(f"rate has to be samples per second, not {rate}")
    return rate


def _check_channels(samples: Samples, layout: str) -> None:
    channels = channels_of(layout)
    if channels != len(samples):
        raise ValueError(
            f"layout {layout} has {channels} channels, the array has {len(samples)}: "
            "name another layout, or leave it to replace(...)"
        )
