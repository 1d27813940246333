"""Exact media time: rational seconds, MPEG-TS ticks, and one timeline across wraps and restarts.

Nothing here knows a codec or a container. Times are :class:`~fractions.Fraction` seconds or integer
ticks of a time base; a float never enters the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

__all__ = [
    "MPEG_TIME_BASE",
    "MPEG_WRAP",
    "SampleClock",
    "Time",
    "Timeline",
    "exact",
    "rescale",
    "ticks",
]

#: One tick of the MPEG-TS presentation clock (ISO/IEC 13818-1: 90 kHz).
MPEG_TIME_BASE = Fraction(1, 90_000)

#: PTS and DTS are 33 bits wide: they start again at 0 after 26 h 30 min (ISO/IEC 13818-1).
MPEG_WRAP = 1 << 33

#: Seconds. A float is taken to the nearest tick of 1/90000 s, everything else is exact.
Time = Fraction | int | float


#: Seconds whose ticks FFmpeg's 64 bits cannot count.
_BEYOND = (1 << 63) // 90_000


def exact(time: Time) -> Fraction:
    """Seconds as a fraction. Raises ``ValueError`` for a time that no clock can tell."""
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


def ticks(time: Time, time_base: Fraction = MPEG_TIME_BASE) -> int:
    """``time`` in seconds as the nearest whole number of ticks of ``time_base``."""
    return round(exact(time) / time_base)


def rescale(value: int, source: Fraction, target: Fraction) -> int:
    """Ticks of ``source`` as the nearest whole number of ticks of ``target``."""
    # Mostly one and the same object, and comparing fractions is slow.
    if source is target or source == target:
        return value
    return round(value * source / target)


@dataclass(slots=True)
class _Epoch:
    """A stretch of the source's clock: ``offset`` takes its unwrapped ticks to the timeline."""

    start: int
    latest: int
    offset: int
    confirmed: bool = False

    def distance(self, raw: int) -> int:
        """How far the 33-bit ``raw`` is ahead of the latest time (or behind: negative)."""
        difference = (raw - self.latest) % MPEG_WRAP
        return difference - MPEG_WRAP if difference >= MPEG_WRAP // 2 else difference

    def reach(self, distance: int) -> int:
        value = self.latest + distance
        self.latest = max(self.latest, value)
        self.confirmed = True
        return value + self.offset


class Timeline:
    """Takes the 33-bit timestamps of all tracks of one stream to one timeline that never breaks.

    - A wrap of the source's clock is followed: times go on rising past 26.5 hours.
    - Timestamps are otherwise kept to the tick; the first one defines no zero. Pauses are kept too.
    - A clock that starts again (back by more than three seconds, or ahead by more than ten minutes)
      goes on where the old one ended. All tracks share that, so they stay in sync, and late packets
      of the old clock keep their times.
    - One timestamp never moves the clock: a jump has to be confirmed by a second one. Until then
      it is taken as it is where it may be a pause, else as the time that follows the latest.

    All values are ticks of 1/90000 s.
    """

    BACK = -3 * 90_000
    NEAR = 3 * 90_000
    PAUSE = 60 * 90_000
    LEAP = 600 * 90_000
    STEP = 3_000

    def __init__(self) -> None:
        self._now: _Epoch | None = None
        self._before: _Epoch | None = None
        self._next: _Epoch | None = None
        #: How often the source's clock started again.
        self.restarts = 0

    def place_both(self, pts: int | None, dts: int | None) -> tuple[int | None, int | None]:
        """A picture's times on the timeline, by its ``dts``, which never goes back as pts does."""
        if dts is None or pts is None:
            placed = None if pts is None else self.place(pts)
            return placed, placed
        ahead = (pts - dts) % MPEG_WRAP
        decoded = self.place(dts)
        return decoded + (ahead if ahead <= self.PAUSE else 0), decoded

    def place(self, raw: int) -> int:
        """The time on the timeline of the 33-bit timestamp ``raw``, in ticks."""
        now = self._now
        if now is None:
            self._now = _Epoch(raw, raw, 0)
            return raw
        distance = now.distance(raw)
        if self.BACK <= distance <= self.NEAR:
            return now.reach(distance)
        before = self._before
        if before is not None and now.latest - now.start > 10 * 90_000:
            # Nothing of the old clock is still under way, and its numbers come round again.
            before = self._before = None
        if before is not None and self.BACK <= before.distance(raw) <= self.NEAR:
            return before.reach(before.distance(raw))
        if not 0 < distance <= self.LEAP and now.offset == 0 and not now.confirmed:
            # The very first timestamp stands alone: it is the damaged one.
            self._now = _Epoch(raw, raw, 0)
            return raw
        if self._next is not None and self.BACK <= self._next.distance(raw) <= self.PAUSE:
            return self._confirm(now, self._next, raw)
        if 0 < distance <= self.LEAP:
            value = now.latest + distance
            self._next = _Epoch(value, value, now.offset)
            if distance <= self.PAUSE:
                return value + now.offset
        else:
            self._next = _Epoch(raw, raw, now.latest + now.offset + self.STEP - raw)
        return now.latest + now.offset + self.STEP

    def _confirm(self, now: _Epoch, jump: _Epoch, raw: int) -> int:
        self._next = None
        if jump.offset == now.offset:
            now.latest = jump.latest
            return now.reach(now.distance(raw))
        self._before, self._now = now, jump
        self.restarts += 1
        return jump.reach(jump.distance(raw))


class SampleClock:
    """Times of consecutive audio frames, exact to the sample.

    Containers round the time of each frame to their own ticks; as long as what they tell agrees
    with the count of samples within ``jitter`` seconds, the count is right. Else there is a gap,
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
