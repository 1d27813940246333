"""The times of pictures of which not each is told: from those around it, and how many there are."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import Generic, TypeVar

T = TypeVar("T")

_WAITING = 8
"""Pictures that wait for the first time that tells how far they are apart."""
_STEP = Fraction(3_000)
"""Ticks between pictures where nothing tells: 30 a second."""
_APART = 10 * 90_000
"""Times further apart than this are a pause."""


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
