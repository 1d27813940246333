"""The times of a file's packets and pictures, where it tells them seldom, wrongly, or anew."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

_BACK = Fraction(1, 2)
"""Seconds by which a packet may be before the end of the one before it, or behind it."""
_NEAR = Fraction(10)
_PAUSE = Fraction(600)

_CLOCKS = 8
"""Clocks to which a packet may still belong: a broken file may seem to have as many as packets."""

_UNTOLD = 16
"""Pictures that are held until the next told time says how far they are apart."""


@dataclass(slots=True)
class _Expected:
    """The clock of one track, and what its next packet should say."""

    epoch: int
    end: Fraction | None = None
    """Where its next packet is expected, in seconds of the one timeline."""
    step: Fraction = Fraction(1, 30)


class FileClock:
    """One timeline for all tracks of what was once a stream, whose clock may have started anew.

    A clock that goes back by more than half a second, or ahead by more than ten minutes, has
    started anew, and goes on where the old one ended. Every track does so at a packet of its own,
    and to the same new clock; one wrong time is followed by one that fits the old clock again.
    """

    def __init__(self) -> None:
        self._offsets = [Fraction(0)]
        self._tracks: dict[int, _Expected] = {}
        self._end = Fraction(0)

    def place(self, packet: Any) -> None:
        """Put the packet's times onto the timeline."""
        told = packet.pts if packet.dts is None else packet.dts
        if told is None:
            return
        base: Fraction = packet.time_base
        track = self._tracks.setdefault(packet.stream_index, _Expected(len(self._offsets) - 1))
        time = told * base
        if not self._fits(track, time + self._offsets[track.epoch], _NEAR):
            track.epoch = self._epoch(track, time)
        offset = self._offsets[track.epoch]
        placed = time + offset
        if packet.duration:
            track.step = packet.duration * base
        track.end = placed + track.step
        self._end = max(self._end, track.end)
        if ticks := round(offset / base):
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks

    @staticmethod
    def _fits(track: _Expected, placed: Fraction, most: Fraction) -> bool:
        return track.end is None or -_BACK <= placed - track.end <= most

    def _epoch(self, track: _Expected, time: Fraction) -> int:
        """The clock by which the packet is nearest to where it is expected, or a new one."""
        newest = len(self._offsets)
        fitting = [
            (time + self._offsets[epoch], epoch)
            for epoch in range(max(0, newest - _CLOCKS), newest)
            if self._fits(track, time + self._offsets[epoch], _PAUSE)
        ]
        if fitting:
            return min(fitting)[1]
        self._offsets.append(self._end - time)
        return len(self._offsets) - 1


class PictureClock:
    """Times of pictures in the order in which they are shown, which is how decoders give them out.

    What is told is kept. Pictures between two told times share the time between them; where
    nothing is told, they follow one another at `rate`. `timed`: whether the container has times
    at all; `by_decoding`: it tells when to decode and nothing else (AVI does).
    """

    def __init__(
        self, time_base: Fraction, rate: Fraction, *, timed: bool = True, by_decoding: bool = False
    ) -> None:
        self._base = time_base
        self._step = 1 / rate / time_base
        self._by_decoding = by_decoding
        self._begin: int | None = None
        self._delay: int | None = None
        self._last: Fraction | None = None
        self._held: list[Any] = []
        self._waits = timed and not by_decoding

    def fed(self, packet: Any) -> None:
        """A packet that the decoder is about to get."""
        if self._begin is None:
            self._begin = packet.dts

    def place(self, picture: Any) -> list[tuple[Any, int]]:
        """Pictures that have their time now, in ticks of the time base."""
        told = self._told(picture)
        if told is None:
            self._held.append(picture)
            if self._waits and len(self._held) <= _UNTOLD:
                return []
            self._waits = False
            return self.flush()
        if self._held and self._last is None:
            self._last = told - self._step * (len(self._held) + 1)
        elif self._held and self._last is not None and told > self._last:
            self._step = (told - self._last) / (len(self._held) + 1)
        out = self.flush()
        if self._last is not None:
            ahead = told - self._last
            if 0 < ahead < 1 / self._base:
                self._step = ahead
            elif -1 / self._base < ahead <= 0:
                # It is shown after the last one, whatever its time says.
                told = self._last + self._step / 8
        self._last = Fraction(told)
        self._waits = not self._by_decoding
        return [*out, (picture, round(told))]

    def flush(self) -> list[tuple[Any, int]]:
        """Those that are held: each follows the one before it."""
        held, self._held = self._held, []
        out = []
        for picture in held:
            self._last = Fraction(0) if self._last is None else self._last + self._step
            out.append((picture, round(self._last)))
        return out

    def _told(self, picture: Any) -> Fraction | None:
        if not self._by_decoding:
            return None if picture.pts is None else Fraction(picture.pts)
        if picture.dts is None or self._begin is None:
            return None
        if self._delay is None:
            self._delay = picture.dts - self._begin
        return Fraction(picture.dts - self._delay)
