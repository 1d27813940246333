"""The times of pictures of which not each is told: from those around it, and how many there are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from livepeer.trickle.media.ts.units import AccessUnit

T = TypeVar("T")

_WAITING = 8
"""Pictures that wait for the first time that tells how far they are apart."""
_STEP = Fraction(3_000)
"""Ticks between pictures where nothing tells: 30 a second."""
_APART = 10 * 90_000
"""Times further apart than this are a pause."""
_KEPT = 256
"""The first units are kept until two groups of pictures came with all their times."""
_HELD = 64
"""Units of which it is not known yet when they are shown: more than any codec holds back."""

Shown = Callable[[AccessUnit | None, int], list[int]]
"""Takes the units by number, in the order in which they came, and gives the numbers in the order
in which they are shown; without a unit the rest of them."""


class PictureTimes(Generic[T]):
    """Add pictures in the order in which they are shown; get them with a time each, in ticks.

    A picture that has a time is given at once, with it. What comes without follows at the distance
    that the told times have; only the first ones wait until two are told, eight at most.
    """

    def __init__(self) -> None:
        self._waiting: deque[T] = deque()
        self._told: int | None = None
        self._since = 0
        """Pictures since that one."""
        self._apart: tuple[int, int] | None = None
        """Ticks between the last two told times, and pictures from one to the other."""
        self._guessed: Fraction | None = None

    def add(
        self, picture: T, pts: int | None, *, rate: Fraction | None = None, latest: int = 0
    ) -> list[tuple[T, int]]:
        """`rate`: what the stream says itself. `latest`: where one without times begins."""
        if pts is not None:
            waited = self._tell(pts)
            return [*waited, (picture, pts)] if waited else [(picture, pts)]
        self._since += 1
        step = self._step
        if self._told is not None and step is not None:
            return [(picture, self._told + round(self._since * step))]
        self._waiting.append(picture)
        return self.give_up(rate, latest) if len(self._waiting) > _WAITING else []

    @property
    def _step(self) -> Fraction | None:
        return Fraction(*self._apart) if self._apart else self._guessed

    def _tell(self, pts: int) -> list[tuple[T, int]]:
        if self._told is not None and 0 < pts - self._told <= _APART:
            self._apart = pts - self._told, self._since + 1
        self._told, self._since = pts, 0
        if not self._waiting:
            return []
        step, count = self._step or _STEP, len(self._waiting)
        waiting, self._waiting = self._waiting, deque()
        return [(each, pts - round((count - n) * step)) for n, each in enumerate(waiting)]

    def give_up(self, rate: Fraction | None, latest: int) -> list[tuple[T, int]]:
        """Nothing told how far they are apart, and nothing will."""
        if not self._waiting:
            return []
        step = self._step
        if step is None:
            step = Fraction(90_000) / rate if rate and 1 <= rate <= 240 else _STEP
            self._guessed = step
        if self._told is None:
            # The first of them is where the stream is, whatever that is called.
            self._told = latest - round(step)
        out = []
        first = self._since - len(self._waiting) + 1
        for n, picture in enumerate(self._waiting):
            out.append((picture, self._told + round((first + n) * step)))
        self._waiting.clear()
        return out

    def lose(self) -> None:
        """Some are missing here: those behind are counted back from the next time that is told."""
        self._told, self._since = None, 0


@dataclass(slots=True)
class _TimedUnit:
    unit: AccessUnit
    pts: int | None
    dts: int = 0
    given: bool = False
    """It was handed on before times were missing."""


class PacketTimes:
    """The times of pictures that pass through undecoded, where not each is told.

    Add units in decoding order; get each with its pts and dts, in that order.

    In decoding order pictures are as far apart as in the order in which they are shown, so that
    told times give all times of decoding. Where some are shown later than they are decoded, a
    decoder says which: the nth shown has the nth of these times, and a delay that is always the
    same.
    """

    def __init__(self, shown: Callable[[], Shown]) -> None:
        """`shown` makes a decoder that says the order."""
        self._make = shown
        self._reordered = False
        self._first: list[_TimedUnit] | None = []
        self._keys = 0
        self._times: PictureTimes[_TimedUnit] | None = None
        self._shown: Shown | None = None
        self._held: deque[_TimedUnit] = deque()
        self._entries: dict[int, _TimedUnit] = {}
        self._decoded: deque[int] = deque()
        self._number = 0
        self._delay: int | None = None

    def add(
        self, unit: AccessUnit, pts: int | None, dts: int | None, *, latest: int = 0
    ) -> list[tuple[AccessUnit, int, int]]:
        decoded = 0 if dts is None else dts
        if self._times is None and self._first is None and pts is not None:
            self._reordered = self._reordered or pts != decoded
            return [(unit, pts, min(pts, decoded))]
        entry = _TimedUnit(unit, pts, decoded)
        if self._times is None:
            if pts is not None:
                self._remember(entry)
                return [(unit, pts, min(pts, decoded))]
            self._begin(latest)
            assert self._times is not None
        told = None if pts is None else entry.dts
        for each, at in self._times.add(entry, told, latest=latest):
            self._place(each, at)
        return self._ready()

    def finish(self, latest: int = 0) -> list[tuple[AccessUnit, int, int]]:
        """Nothing follows: what is held back is given as it came."""
        if self._times is not None:
            for each, at in self._times.give_up(None, latest):
                self._place(each, at)
            self._times.lose()
        for number in self._shown(None, 0) if self._shown is not None else ():
            self._tell(number)
        out = self._ready()
        for entry in self._held:
            pts = entry.dts if entry.pts is None else entry.pts
            if not entry.given:
                out.append((entry.unit, pts, min(pts, entry.dts)))
        self._held.clear()
        self._shown = None
        self._entries.clear()
        self._decoded.clear()
        self._delay = None
        return out

    def _remember(self, entry: _TimedUnit) -> None:
        assert self._first is not None
        self._reordered = self._reordered or entry.pts != entry.dts
        self._keys += entry.unit.key
        if self._keys > 2 or len(self._first) == _KEPT:
            self._first = None
        else:
            entry.given = True
            self._first.append(entry)

    def _begin(self, latest: int) -> None:
        self._times = PictureTimes()
        for entry in self._first or ():
            for each, at in self._times.add(entry, entry.dts, latest=latest):
                self._place(each, at)
        self._first = None

    def _place(self, entry: _TimedUnit, dts: int) -> None:
        entry.dts = dts
        if not self._reordered:
            entry.pts = dts if entry.pts is None else entry.pts
            self._held.append(entry)
            return
        if self._shown is None:
            if not entry.unit.key:
                return
            self._shown = self._make()
        self._held.append(entry)
        self._entries[self._number] = entry
        self._decoded.append(dts)
        for number in self._shown(entry.unit, self._number):
            self._tell(number)
        self._number += 1

    def _tell(self, number: int) -> None:
        entry = self._entries.pop(number, None)
        if entry is None or not self._decoded:
            return
        at = self._decoded.popleft()
        if entry.pts is not None:
            self._delay = entry.pts - at
        else:
            entry.pts = at + (self._delay or 0)

    def _ready(self) -> list[tuple[AccessUnit, int, int]]:
        out = []
        while self._held and (self._held[0].pts is not None or len(self._held) > _HELD):
            entry = self._held.popleft()
            pts = entry.dts if entry.pts is None else entry.pts
            if not entry.given:
                out.append((entry.unit, pts, min(pts, entry.dts)))
        for number in [n for n in self._entries if n < self._number - 2 * _HELD]:
            del self._entries[number]
        return out
