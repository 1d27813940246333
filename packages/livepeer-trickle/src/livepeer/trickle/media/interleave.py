"""Puts the items of several tracks into one order of presentation, holding back a bounded time."""

from __future__ import annotations

from collections import deque
from fractions import Fraction

from livepeer.trickle.media.frame.frames import Frame, MediaPacket, VideoFrame
from livepeer.trickle.media.limits import pictures_that_may_wait

_MOST = 64
"""Items that may be held back of one track, whatever their times say: a second at 60 a second."""


class Interleaver:
    """Items of one track have to come in order; a track that is silent is waited for `hold`."""

    def __init__(self, hold: Fraction) -> None:
        self._hold = hold
        self._queues: dict[str, deque[Frame | MediaPacket]] = {}
        self._newest: Fraction | None = None

    def add(self, items: list[Frame | MediaPacket], *, tracks: int) -> list[Frame | MediaPacket]:
        """Take `items` in, and give those that nothing of the `tracks` tracks can precede."""
        for item in items:
            self._queues.setdefault(item.kind, deque()).append(item)
            time = _when(item)
            if self._newest is None or time > self._newest:
                self._newest = time
        out: list[Frame | MediaPacket] = []
        while True:
            waiting = [queue for queue in self._queues.values() if queue]
            if not waiting:
                return out
            first = min(waiting, key=lambda queue: _when(queue[0]))
            if len(waiting) < tracks and self._newest is not None and len(first) <= _most(first[0]):
                if self._newest - _when(first[0]) <= self._hold:
                    return out
            out.append(first.popleft())

    def flush(self) -> list[Frame | MediaPacket]:
        rest = [item for queue in self._queues.values() for item in queue]
        self._queues.clear()
        self._newest = None
        return sorted(rest, key=_when)


def _most(item: Frame | MediaPacket) -> int:
    if not isinstance(item, VideoFrame):
        return _MOST
    return pictures_that_may_wait(_MOST, item.width, item.height)


def _when(item: Frame | MediaPacket) -> Fraction:
    # Undecoded pictures come in decoding order, which is the order of their dts.
    return item.dts * item.time_base if isinstance(item, MediaPacket) else item.time
