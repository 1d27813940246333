"""Times for frames that have none: a generator's frames, shown as fast as they should be."""

from __future__ import annotations

import time
from fractions import Fraction

from livepeer.trickle.media.frame import AudioFrame, Item, VideoFrame

LATE = 0.1
"""A source this many seconds late goes on from the wall clock, and does not hurry to catch up."""


class Pacer:
    """Gives untimed frames the next time of their track, and tells how long to wait for it.

    Both tracks count from one moment, so they are in sync. Frames with a time are left alone, and
    those of the other sort, if there are any, are not in sync with them: `mixed` tells.
    """

    def __init__(self, fps: Fraction) -> None:
        self._interval = 1 / fps
        self._epoch: float | None = None
        self._next: dict[str, Fraction] = {}
        self._left_alone = False

    @property
    def mixed(self) -> bool:
        """Whether some frames had a time and others had none."""
        return self._left_alone and self._epoch is not None

    def pace(self, item: Item) -> tuple[Fraction | None, float]:
        """The time for `item` in seconds (`None`: it has one), and the seconds until then."""
        # What is no frame at all is refused by the encoder.
        if not isinstance(item, VideoFrame | AudioFrame) or item.pts is not None:
            self._left_alone = True
            return None, 0.0
        now = time.monotonic()
        if self._epoch is None:
            self._epoch = now
        duration = item.duration if item.kind == "audio" else self._interval
        elapsed = now - self._epoch
        due = self._next.get(item.kind, Fraction(0))
        if elapsed - due > LATE:
            due = Fraction(round(elapsed * 90_000), 90_000)
        self._next[item.kind] = due + duration
        return due, max(0.0, float(due) - elapsed)
