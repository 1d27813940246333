"""Data records that a stream gives: how many, how old when they come, and how many were lost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from livepeer.runner.bench.figures import Figures, figures

TIME_KEYS: Final = ("time", "end")
"""Where a record says of which moment it is, in seconds of the stream; `end` of what has a length,
such as a sentence."""
READABLE: Final = 0.5
"""The share of records that have to say their moment for an age to be told."""


class SeenRecord(NamedTuple):
    """One that came: when, and the moment in the stream that it is of, where it says one."""

    at: float
    time: float | None


@dataclass(frozen=True, slots=True)
class EmittedRecords:
    """What a pipeline says itself in its last `status` (specs/live.md)."""

    sent: int
    dropped: int
    """Those that never left, or whose segment broke off."""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> EmittedRecords | None:
        """Of a `status`; None where it does not say it."""
        output = event.get("output_status")
        told = output if isinstance(output, Mapping) else {}
        names = ("records_sent", "records_dropped", "records_uncertain")
        counts = [told.get(name) for name in names]
        numbers = [each for each in counts if type(each) is int and 0 <= each < 1 << 53]
        return cls(numbers[0], sum(numbers[1:])) if len(numbers) == len(counts) else None


class RecordsReport(BaseModel):
    """The data records of one stream, or of all streams of a step."""

    received: int
    """Within the measured seconds."""
    per_second: float
    """Of a step: of the stream with the fewest."""
    age: Figures
    """From the moment that a record is of (its `time` or `end`, in seconds of the stream) to that
    at which it came."""
    no_age: str = ""
    """Why there is no age; empty where there is one."""
    emitted: int | None = None
    """From the start of the stream to its end, by the pipeline's own word; None where its end was
    not heard, or where it does not say."""
    lost: int | None = None
    """Of those, how many never came."""


def record_time(record: Mapping[str, Any]) -> float | None:
    for key in TIME_KEYS:
        value = record.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value) if math.isfinite(value) else None
    return None


def ages(
    records: Sequence[SeenRecord], began: float, begin: float, end: float
) -> list[tuple[float, float]]:
    """When each was due, in seconds from the first picture's moment, and its age; of those that
    came between the moments `begin` and `end`. Empty where most say no moment of the stream."""
    within = [one for one in records if begin <= one.at < end]
    timed = [(one.time, one.at - began - one.time) for one in within if one.time is not None]
    # What is not over yet cannot be told of: it is no moment of the stream.
    found = [(at, age) for at, age in timed if at >= 0 and age >= 0]
    return found if found and len(found) >= len(within) * READABLE else []


def records_report(
    records: Sequence[SeenRecord],
    aged: Sequence[tuple[float, float]],
    begin: float,
    end: float,
    emitted: EmittedRecords | None,
) -> RecordsReport | None:
    """Of one stream; None where none came and none is known of."""
    whole = None if emitted is None else emitted.sent + emitted.dropped
    if not (records or whole):
        return None
    received = sum(begin <= one.at < end for one in records)
    return RecordsReport(
        received=received,
        per_second=round(received / (end - begin), 2),
        age=figures([age for _, age in aged]),
        no_age="" if aged else "the records say no moment of the stream (`time`, `end`: seconds)",
        emitted=whole,
        lost=None if whole is None else max(0, whole - len(records)),
    )


def all_records(
    found: Sequence[RecordsReport | None], aged: Sequence[float]
) -> RecordsReport | None:
    """Of the streams of a step together."""
    each = [one for one in found if one is not None]
    if not each:
        return None
    emitted = [one.emitted for one in each if one.emitted is not None]
    lost = [one.lost for one in each if one.lost is not None]
    known = len(emitted) == len(lost) == len(each)
    return RecordsReport(
        received=sum(one.received for one in each),
        per_second=min(one.per_second for one in each) if len(each) == len(found) else 0.0,
        age=figures(aged),
        no_age="" if aged else each[0].no_age,
        emitted=sum(emitted) if known else None,
        lost=sum(lost) if known else None,
    )
