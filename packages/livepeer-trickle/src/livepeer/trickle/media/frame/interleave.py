"""Puts the items of several tracks into one order of presentation, holding back a bounded time."""

from __future__ import annotations

from collections import deque
from fractions import Fraction

from livepeer.trickle.media.frame import Item, MediaPacket, VideoFrame

_WAITING_PIXELS = 1 << 27
"""Of pictures that are decoded and wait for their turn: a second of 1080p at 60 a second."""

_MOST = 64
"""Items that may be held back of one track, whatever their times say: a second at 60 a second."""


class Interleaver:
    """Items of one track have to come in order; a track that is silent is waited for `hold`."""

    def __init__(self, hold: Fraction) -> None:
        self._hold = hold
        self._queues: dict[str, deque[Item]] = {}
        self._newest: Fraction | None = None

    def add(self, items: list[Item], *, tracks: int) -> list[Item]:
        """Take `items` in, and give those that nothing of the `tracks` tracks can precede."""
        for item in items:
            self._queues.setdefault(item.kind, deque()).append(item)
            time = _when(item)
            if self._newest is None or time > self._newest:
                self._newest = time
        out: list[Item] = []
        while True:
            waiting = [queue for queue in self._queues.values() if queue]
            if not waiting:
                return out
            first = min(waiting, key=lambda queue: _when(queue[0]))
            if len(waiting) < tracks and self._newest is not None and len(first) <= _most(first[0]):
                if self._newest - _when(first[0]) <= self._hold:
                    return out
            out.append(first.popleft())

    def flush(self) -> list[Item]:
        rest = [item for queue in self._queues.values() for item in queue]
        self._queues.clear()
        self._newest = None
        return sorted(rest, key=_when)


def pictures_that_may_wait(most: int, width: int, height: int) -> int:
    """`most` pictures of that size, or as many as memory is for; some in any case."""
    return max(min(most, 4), min(most, _WAITING_PIXELS // max(1, width * height)))


def _most(item: Item) -> int:
    if not isinstance(item, VideoFrame):
        return _MOST
    return pictures_that_may_wait(_MOST, item.width, item.height)


def _when(item: Item) -> Fraction:
    # Undecoded pictures come in decoding order, which is the order of their dts.
    return item.dts * item.time_base if isinstance(item, MediaPacket) else item.time
