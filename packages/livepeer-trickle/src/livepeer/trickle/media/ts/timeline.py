"""One timeline out of a stream's clock, across its wraps and restarts."""

from __future__ import annotations

from dataclasses import dataclass

from livepeer.trickle.media.frame.clock import MPEG_WRAP


def _signed(difference: int) -> int:
    """The difference of two 33-bit times, whichever of them is ahead."""
    difference %= MPEG_WRAP
    return difference - MPEG_WRAP if difference >= MPEG_WRAP // 2 else difference


@dataclass(slots=True, eq=False)
class _Epoch:
    """A stretch of the source's clock: `offset` takes its unwrapped ticks to the timeline."""

    start: int
    latest: int
    offset: int
    confirmed: bool = False

    def distance(self, raw: int) -> int:
        """How far the 33-bit `raw` is ahead of the latest time (or behind: negative)."""
        return _signed(raw - self.latest)

    def reach(self, distance: int) -> int:
        value = self.latest + distance
        self.latest = max(self.latest, value)
        self.confirmed = True
        return value + self.offset


@dataclass(slots=True)
class _Recent:
    """The last times of one track, as they came, and the clock that they were of."""

    epoch: _Epoch
    last: int
    before: int

    def behind(self, raw: int) -> int:
        """By how much the track went back; not where one time stood out and the next goes on."""
        return min(_signed(self.last - raw), _signed(self.before - raw))

    @property
    def step(self) -> int:
        return _signed(self.last - self.before)


class Timeline:
    """Takes the 33-bit timestamps of all tracks of one stream to one timeline that never breaks.

    - A wrap of the source's clock is followed: times go on rising past 26.5 hours.
    - Timestamps are otherwise kept to the tick; the first one defines no zero. Pauses are kept too.
    - A clock that starts again goes on where the old one ended. It does where it goes back by more
      than three seconds, or ahead by more than ten minutes, or where a track goes back by more than
      a tenth of a second at a unit that a decoder can start at. All tracks share that, so they stay
      in sync, and late packets of the old clock keep their times.
    - One timestamp never moves the clock: a jump has to be confirmed by a second one. Until then
      it is taken as it is where it may be a pause, else as the time that follows the latest.

    All values are ticks of 1/90000 s.
    """

    BACK = -3 * 90_000
    NEAR = 3 * 90_000
    PAUSE = 60 * 90_000
    LEAP = 600 * 90_000
    STEP = 3_000
    JITTER = 9_000
    """A track that goes back by less has a clock that is not exact."""

    def __init__(self) -> None:
        self._now: _Epoch | None = None
        self._before: _Epoch | None = None
        self._next: _Epoch | None = None
        self._returned: str | None = None
        """The track that went back a little, if that is what may be the next clock."""
        self._tracks: dict[str, _Recent] = {}
        self.first: int | None = None
        """The first time of all, once there is one."""
        self.restarts = 0
        """How often the source's clock started again."""

    @property
    def latest(self) -> int:
        """The latest time so far, 0 before there is any."""
        return 0 if self._now is None else self._now.latest + self._now.offset

    def place_both(
        self, pts: int | None, dts: int | None, track: str = "video", *, starts: bool = False
    ) -> tuple[int | None, int | None]:
        """A picture's times on the timeline, by its `dts`, which never goes back as pts does."""
        if dts is None or pts is None:
            placed = None if pts is None else self.place(pts, track, starts=starts)
            return placed, placed
        ahead = _signed(pts - dts)
        decoded = self.place(dts, track, starts=starts)
        if abs(ahead) > self.PAUSE:
            ahead = 0
        # Where it is shown before it is decoded, its dts is wrong, which is nothing to go by.
        return decoded + ahead, decoded

    def place(self, raw: int, track: str = "", *, starts: bool = False) -> int:
        """The time on the timeline of the 33-bit timestamp `raw` of `track`, in ticks.

        `starts`: a decoder can start at it, as it can where a source begins anew.
        """
        known = self._tracks.get(track)
        if known is None or known.epoch not in (self._now, self._before):
            value, epoch = self._place(raw)
        elif (raw - known.last) % MPEG_WRAP <= self.NEAR:
            # It goes on, as nearly always; with the old clock, where only others are at the new.
            if self._returned == track:
                self._next = self._returned = None
            if known.epoch is self._before:
                value, epoch = known.epoch.reach(known.epoch.distance(raw)), known.epoch
            else:
                value, epoch = self._place(raw)
        else:
            behind = known.behind(raw)
            # Of two times nobody knows which is the damaged one.
            returned = known.before != known.last and self.JITTER < behind <= -self.BACK
            if returned and (starts or self._returned is not None):
                value, epoch = self._return(known, track, raw, starts)
            else:
                value, epoch = self._place(raw)
        if epoch is None:
            return value
        if known is None:
            self._tracks[track] = _Recent(epoch, raw, raw)
        else:
            known.before = known.last if known.epoch is epoch else raw
            known.epoch, known.last = epoch, raw
        return value

    def _return(
        self, known: _Recent, track: str, raw: int, starts: bool
    ) -> tuple[int, _Epoch | None]:
        """A track went back by less than what is a restart in any case."""
        now, jump = self._now, self._next
        assert now is not None
        if known.epoch is not now and self.BACK <= now.distance(raw) <= self.NEAR:
            # Another track was there before.
            return now.reach(now.distance(raw)), now
        if jump is not None and self._returned and 0 <= jump.distance(raw) <= self.NEAR:
            return self._confirm(now, jump, raw)
        if not starts:
            return self._place(raw)
        step = known.step if 0 < known.step <= self.JITTER else self.STEP
        value = now.latest + now.offset + step
        self._next, self._returned = _Epoch(raw, raw, value - raw), track
        return value, None

    def _place(self, raw: int) -> tuple[int, _Epoch | None]:
        now = self._now
        if now is None:
            self._now, self.first = _Epoch(raw, raw, 0), raw
            return raw, self._now
        distance = now.distance(raw)
        if self.BACK <= distance <= self.NEAR:
            return now.reach(distance), now
        before = self._before
        if before is not None and now.latest - now.start > 10 * 90_000:
            # Nothing of the old clock is still under way, and its numbers come round again.
            before = self._before = None
        if before is not None and self.BACK <= before.distance(raw) <= self.NEAR:
            return before.reach(before.distance(raw)), before
        if not 0 < distance <= self.LEAP and now.offset == 0 and not now.confirmed:
            # The very first timestamp stands alone: it is the damaged one.
            self._now, self.first = _Epoch(raw, raw, 0), raw
            return raw, self._now
        if self._next is not None and self.BACK <= self._next.distance(raw) <= self.PAUSE:
            return self._confirm(now, self._next, raw)
        self._returned = None
        if 0 < distance <= self.LEAP:
            value = now.latest + distance
            self._next = _Epoch(value, value, now.offset)
            if distance <= self.PAUSE:
                return value + now.offset, None
        else:
            self._next = _Epoch(raw, raw, now.latest + now.offset + self.STEP - raw)
        return now.latest + now.offset + self.STEP, None

    def _confirm(self, now: _Epoch, jump: _Epoch, raw: int) -> tuple[int, _Epoch]:
        self._next = self._returned = None
        if jump.offset == now.offset:
            now.latest = jump.latest
            return now.reach(now.distance(raw)), now
        self._before, self._now = now, jump
        self.restarts += 1
        return jump.reach(jump.distance(raw)), jump
