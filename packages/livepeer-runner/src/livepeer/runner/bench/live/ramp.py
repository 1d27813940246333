"""Streams are added until an aim is missed."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from livepeer.runner.bench.figures import SHARES
from livepeer.runner.bench.live.records import RecordsReport
from livepeer.runner.bench.live.report import StepReport, StreamsVerdict

MOST_STREAMS: Final = 256
DEFAULT: Final = "drops<5%,freezes<1"
"""What has to hold where no aim was named."""
_TERM: Final = re.compile(
    r"(?P<percentile>p\d+(?:\.\d+)?)<(?P<ms>\d+(?:\.\d+)?)(?P<unit>ms|s)"
    r"|fps>(?P<fps>\d+(?:\.\d+)?)|drops<(?P<drops>\d+(?:\.\d+)?)%|freezes<(?P<freezes>\d+)"
    r"|records>(?P<records>\d+(?:\.\d+)?)"
)


@dataclass(frozen=True, slots=True)
class StreamAim:
    """What every stream has to hold, such as `p95<200ms,fps>24`, or `records>5` (a second)."""

    text: str
    terms: tuple[tuple[str, float], ...]
    """A percentile of glass to glass with its milliseconds, `fps`, `drops` (a share; of records
    where there is nothing else), `freezes`, `records` (a second)."""

    @classmethod
    def of(cls, text: str) -> StreamAim:
        """Raises `ValueError`."""
        terms: list[tuple[str, float]] = []
        for part in text.replace(" ", "").split(","):
            found = _TERM.fullmatch(part)
            if found is None or (found["percentile"] or "p50") not in SHARES:
                raise ValueError(
                    f"{part!r} is not an aim for streams like p95<200ms, fps>24, drops<5%, "
                    f"freezes<1 or records>5, with one of {', '.join(SHARES)}"
                )
            if found["percentile"]:
                terms.append(
                    (
                        found["percentile"],
                        float(found["ms"]) * (1000 if found["unit"] == "s" else 1),
                    )
                )
            elif found["fps"]:
                terms.append(("fps", float(found["fps"])))
            elif found["drops"]:
                terms.append(("drops", float(found["drops"]) / 100))
            elif found["records"]:
                terms.append(("records", float(found["records"])))
            else:
                terms.append(("freezes", float(found["freezes"])))
        return cls(text, tuple(terms))

    def missed(self, step: StepReport) -> str:
        """Why it does not hold; empty where it does."""
        if why := broken(step):
            return why
        for place, one in enumerate(step.each, 1):
            name = _name(place, step)
            for what, bound in self.terms:
                if what == "fps" and one.fps_out <= bound:
                    return f"{name} gave {one.fps_out:g} pictures a second"
                if what == "drops" and one.sent and one.dropped >= bound * one.sent:
                    return f"{name} gave {one.received} of {one.sent} pictures"
                if what == "drops" and one.only_records and (told := _lost(one.records, bound)):
                    return f"{name} {told}"
                if what == "records":
                    rate = one.records.per_second if one.records is not None else 0.0
                    if rate <= bound:
                        return f"{name} gave {rate:g} records a second"
                if what == "freezes" and one.freezes >= bound:
                    return f"{name} froze {one.freezes} times, {one.frozen_seconds:g} s in all"
                if what in SHARES:
                    if (seen := one.latency.percentiles.get(what)) is None:
                        of = "ages of records" if one.only_records else "pictures"
                        return f"{name}: {one.latency.count} {of} are too few for {what}"
                    if seen.ms >= bound:
                        return f"{name}: {what} was {seen.ms:.1f} ms"
        return ""


def broken(step: StepReport) -> str:
    """Why a stream was no whole one, which no lateness of the generator explains; empty where all
    were."""
    for place, one in enumerate(step.each, 1):
        if one.ended or one.first_ms is None:
            return f"{_name(place, step)}: {one.ended or 'nothing came out'}"
    return ""


def _lost(records: RecordsReport | None, share: float) -> str:
    """What is said where so many or more were lost; empty where not, or where nobody knows."""
    if records is None or not records.emitted or records.lost is None:
        return ""
    come = records.emitted - records.lost
    return (
        f"gave {come} of {records.emitted} records"
        if records.lost >= share * records.emitted
        else ""
    )


def _name(place: int, step: StepReport) -> str:
    return f"stream {place} of {step.streams}" if step.streams > 1 else "the stream"


def counts(text: str) -> tuple[list[int], bool]:
    """Read `1..8` or `1,2,4`: numbers of streams, and whether it is a range to be searched.

    Raises `ValueError`.
    """
    low, dots, high = text.partition("..")
    try:
        found = [int(low), int(high)] if dots else [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or any(not 1 <= each <= MOST_STREAMS for each in found):
        raise ValueError(f"{text!r}: streams are 1..8 or 1,2,4, up to {MOST_STREAMS}")
    if dots and found[0] > found[1]:
        raise ValueError(f"{text!r}: the first number of a range is the lower one")
    return found, bool(dots)


async def ramp(
    aim: StreamAim,
    measure: Callable[[int], Awaitable[StepReport]],
    wanted: Sequence[int],
    *,
    search: bool,
) -> StreamsVerdict:
    """Measure with more and more streams, up to the first number that misses the aim.

    `search`: `wanted` are the least and the most; the number is doubled, then the interval halved.
    Else each of `wanted` in turn. A step in which the generator was the limit ends it: the target
    bears at least what was seen before.
    """
    held: int | None = None
    missed: int | None = None
    reason = ""
    waiting = [] if search else list(wanted)
    count = wanted[0]
    while True:
        step = await measure(count)
        why = aim.missed(step)
        if step.limit and not broken(step):
            return StreamsVerdict(
                aim=aim.text, streams=held,
                reason=f"with {count}: {step.limit}; the target bears at least what it held before",
            )  # fmt: skip
        if why:
            missed, reason = count, f"with {count}: {why}"
        else:
            held = count
        if not search:
            waiting = waiting[1:]
            if why or not waiting:
                break
            count = waiting[0]
            continue
        following = _following(held, missed, wanted[-1])
        if following is None:
            break
        count = following
    return StreamsVerdict(aim=aim.text, streams=held, failed_at=missed, reason=reason)


def _following(held: int | None, missed: int | None, most: int) -> int | None:
    if held is None:
        return None  # not even the least
    if missed is None:
        return None if held >= most else min(most, held * 2)
    return (held + missed) // 2 if missed - held > 1 else None
