"""Which picture that came is which that was sent, and how much the sound is apart from them."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Final, Literal

from livepeer.runner.bench.live import marks
from livepeer.runner.bench.live.camera import clicked
from livepeer.runner.bench.live.stream import SeenPicture, StreamRecord

READABLE: Final = 0.5
"""The share of pictures whose number has to be readable for all to be matched by it."""

MatchedBy = Literal["number", "pts", "nothing"]


@dataclass(frozen=True, slots=True)
class Match:
    """Pictures by the index of the one that was sent: each the first time that it came."""

    by: MatchedBy
    pictures: Mapping[int, SeenPicture]
    repeated: int

    def latencies(
        self, record: StreamRecord, interval: Fraction, first: int
    ) -> list[tuple[float, float]]:
        """When a picture was due, in seconds from the first one's moment, and how long it took; in
        the order of their indices, from `first` on."""
        return [
            (float(index * interval), each.at - record.began - float(index * interval))
            for index, each in sorted(self.pictures.items())
            if index >= first
        ]


NO_MATCH: Final = Match("nothing", {}, 0)


def match(record: StreamRecord, interval: Fraction) -> Match:
    """By number where most can be read; else by their times; else not at all."""
    came = record.pictures
    numbered = [each for each in came if each.number is not None]
    if came and len(numbered) >= len(came) * READABLE:
        found, repeated = _by(numbered, lambda one: _index(one, record, interval), record, interval)
        if len(found) + repeated >= len(numbered) * READABLE:
            return Match("number", found, repeated)
    found, repeated = _by(came, lambda one: round(one.time / float(interval)), record, interval)
    if came and len(found) + repeated >= len(came) * READABLE:
        return Match("pts", found, repeated)
    return NO_MATCH


def _by(
    came: Sequence[SeenPicture],
    index_of: Callable[[SeenPicture], int],
    record: StreamRecord,
    interval: Fraction,
) -> tuple[dict[int, SeenPicture], int]:
    """Each picture's first, and how many came again."""
    found: dict[int, SeenPicture] = {}
    repeated = 0
    for each in came:
        index = index_of(each)
        # What was not sent yet cannot have come: it is another picture's number, or time.
        sent = 0 <= index < len(record.late)
        if not sent or each.at < record.began + float(index * interval):
            continue
        if index in found:
            repeated += 1
        else:
            found[index] = each
    return found, repeated


def _index(one: SeenPicture, record: StreamRecord, interval: Fraction) -> int:
    """Numbers begin again after 65,536 pictures: the newest that can have come."""
    assert one.number is not None
    newest = int((one.at - record.began) / float(interval))
    return one.number + max(0, newest - one.number) // marks.NUMBERS * marks.NUMBERS


def skews(record: StreamRecord, found: Match, interval: Fraction) -> list[float]:
    """Seconds by which each click is shown later than the picture that was taken with it."""
    heard = marks.clicks(record.heard)
    if found.by != "number" or not heard or not found.pictures:
        return []
    times = sorted((each.time, float(index * interval)) for index, each in found.pictures.items())
    shown = [time for time, _ in times]
    apart = []
    for at in heard:
        place = min(len(times) - 1, bisect.bisect_left(shown, at))
        near = times[max(0, place - 5) : place + 6]
        pictures_later = median(time - taken for time, taken in near)
        second = round((at - pictures_later - clicked(0)) / marks.CLICK_EVERY)
        apart.append(at - clicked(second) - pictures_later)
    return apart


def jitter(latencies: Sequence[float]) -> float | None:
    """The mean of how much one latency differs from the next (RFC 3550's, unsmoothed)."""
    if len(latencies) < 2:
        return None
    return math.fsum(abs(b - a) for a, b in pairwise(latencies)) / (len(latencies) - 1)
