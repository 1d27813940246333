"""Exact media time: rational seconds, MPEG-TS ticks, and sound counted by its samples.

Nothing here knows a codec or a container. Times are `fractions.Fraction` seconds or integer
ticks of a time base; a float never enters the arithmetic.
"""

from __future__ import annotations

from fractions import Fraction
from math import lcm

MPEG_TIME_BASE = Fraction(1, 90_000)
"""One tick of the MPEG-TS presentation clock (ISO/IEC 13818-1: 90 kHz)."""

MPEG_WRAP = 1 << 33
"""PTS and DTS are 33 bits wide: they start again at 0 after 26 h 30 min (ISO/IEC 13818-1)."""

Time = Fraction | int | float
"""Seconds. A float is taken to the nearest tick of 1/90000 s, everything else is exact."""

_BEYOND = (1 << 63) // 90_000
"""Seconds whose ticks FFmpeg's 64 bits cannot count."""


def exact(time: Time) -> Fraction:
    """Seconds as a fraction. Raises `ValueError` for a time that no clock can tell."""
    seconds = _fraction(time)
    if not -_BEYOND < seconds < _BEYOND:
        raise ValueError(f"a time is in seconds, which {time!r} cannot be: were nanoseconds meant?")
    return seconds


def _fraction(time: Time) -> Fraction:
    if isinstance(time, Fraction | int):
        return Fraction(time)
    try:
        # What is a number to Python only by conversion, as numpy's float32 is, is taken as a float.
        return Fraction(round(float(time) * 90_000), 90_000)
    except TypeError:
        raise TypeError(f"a time has to be a number of seconds, not {time!r}") from None
    except (OverflowError, ValueError):
        raise ValueError(f"a time has to be a finite number of seconds, not {time!r}") from None


def in_ticks(time: Time) -> tuple[int, Fraction]:
    """`time` as ticks, and the time base in which it is exact: that of MPEG-TS where it can be."""
    seconds = exact(time)
    exact_in_mpeg = 90_000 % seconds.denominator == 0
    base = MPEG_TIME_BASE if exact_in_mpeg else Fraction(1, seconds.denominator)
    return int(seconds / base), base


def untimed() -> ValueError:
    """What is raised where the time of a frame is asked for that has none."""
    return ValueError(
        "this frame has no time yet: give one to from_ndarray(..., time=...), "
        "or let the publisher pace it"
    )


def rescale(value: int, source: Fraction, target: Fraction) -> int:
    """Ticks of `source` as the nearest whole number of ticks of `target`."""
    # Mostly one and the same object, and comparing fractions is slow.
    if source is target or source == target:
        return value
    return round(value * source / target)


class SampleClock:
    """Times of consecutive audio frames, exact to the sample.

    Containers round the time of each frame to their own ticks; as long as what they tell agrees
    with the count of samples within `jitter` seconds, the count is right. Else there is a gap,
    and the told time is.
    """

    def __init__(self, jitter: Fraction = Fraction(2, 1000)) -> None:
        self._jitter = jitter
        self._next: Fraction | None = None

    @property
    def started(self) -> bool:
        return self._next is not None

    def place(self, told: Fraction | None, samples: int, rate: int) -> tuple[int, Fraction]:
        """The time of the frame as ticks, and the time base in which it is exact."""
        start = self._next
        if start is None or (told is not None and abs(told - start) > self._jitter):
            start = told if told is not None else Fraction(0)
        self._next = start + Fraction(samples, rate)
        base = Fraction(1, lcm(start.denominator, rate))
        return int(start / base), base
