"""What streams came to, in figures."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

from pydantic import BaseModel

from livepeer.runner.bench.figures import Figures, Slice, curve, figures, over_time
from livepeer.runner.bench.live.match import NO_MATCH, Match, MatchedBy, jitter, match, skews
from livepeer.runner.bench.live.records import RecordsReport, ages, all_records, records_report
from livepeer.runner.bench.live.shot import Shot
from livepeer.runner.bench.live.stream import StreamRecord
from livepeer.runner.bench.usage import Usage

FREEZE_SECONDS: Final = 0.2
BUSY: Final = 0.8
"""The share of all cores from which the generator is taken for the limit."""
LATE_SHARE: Final = 1 / 3
"""The part of a picture's interval by which 1 in 100 may be late before the generator is taken
for the limit."""


class Skew(BaseModel):
    """How much later sound is shown than its picture, in milliseconds; below 0: earlier."""

    median_ms: float
    min_ms: float
    max_ms: float
    marks: int
    """Clicks that were found."""


class StreamReport(BaseModel):
    """One stream, over the measured seconds."""

    fps_in: float
    """Pictures fed a second."""
    fps_out: float
    """Pictures that came a second, those that came twice included."""
    sent: int
    received: int
    """Of those that were sent, how many came; once each."""
    dropped: int
    repeated: int
    unreadable: int
    """Pictures that came without a readable number."""
    matched_by: MatchedBy
    """`pts`: by their times, since the pipeline leaves no readable number; right where it keeps
    times. `nothing`: neither is there, so there is no latency."""
    latency: Figures
    """Glass to glass: from the moment that a picture is due to that at which it is decoded. Of a
    stream that gives nothing but records: their age."""
    records: RecordsReport | None = None
    """None where there are none."""
    jitter_ms: float | None = None
    """The mean difference of the latencies of one picture and the next."""
    freezes: int
    """Times that no picture came for over 200 ms."""
    frozen_seconds: float
    longest_gap_ms: float | None = None
    start_ms: float | None = None
    """From asking for the stream to the answer."""
    first_ms: float | None = None
    """From asking for the stream to the first picture, or to the first record."""
    skew: Skew | None = None
    no_skew: str = ""
    """Why there is no skew."""
    refused: bool = False
    ended: str = ""
    """Why it ended before its time; empty where it did not."""
    only_records: bool = False
    """Neither pictures nor sound came out of it."""


class StepReport(BaseModel):
    """So many streams at once."""

    streams: int
    seconds: float
    latency: Figures
    """Glass to glass, of the pictures of all streams; of streams that give nothing but records:
    their age."""
    records: RecordsReport | None = None
    """None where there are none."""
    fps_in: float
    fps_out: float
    """Of the stream with the fewest."""
    dropped_share: float
    """Of all pictures that were sent."""
    freezes: int
    each: list[StreamReport]
    generator_late_ms: float
    """The p99 of how late pictures were handed over."""
    generator_cpu: float
    """Cores."""
    limit: str = ""
    """Why the figures are not the target's; empty where they are."""
    usage: Usage | None = None
    curve: list[tuple[float, float]] = []
    """The latency's distribution: shares of the pictures, and milliseconds."""
    over_time: list[Slice] = []
    """The latency by when a picture came."""

    @property
    def name(self) -> str:
        """For people: `2 streams`."""
        return f"{self.streams} stream{'s' if self.streams != 1 else ''}"

    @property
    def only_records(self) -> bool:
        """Neither pictures nor sound came out of any stream."""
        return bool(self.each) and all(one.only_records for one in self.each)


class Share(BaseModel):
    """Of the p50 with the fewest streams, what is the model's and what all else takes."""

    total_ms: float
    transport_ms: float
    """Encoding, decoding, transport: what a pipeline that returns each picture takes here."""
    model_ms: float


class StreamsVerdict(BaseModel):
    """How many streams hold an aim."""

    aim: str
    streams: int | None
    """None where not even the fewest that were tried do."""
    failed_at: int | None = None
    """The fewest that were tried that do not."""
    reason: str = ""


class LiveReport(BaseModel):
    """Streams of a live pipeline."""

    picture: str
    """What was fed: `1280x720@30`, `sound`, or `nothing` where the pipeline makes its pictures."""
    sound: bool
    """Whether there was sound with it."""
    null: StepReport | None = None
    """One stream of a pipeline that returns each picture, on this machine."""
    share: Share | None = None
    steps: list[StepReport] = []
    max: StreamsVerdict | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """The seconds of a stream that are measured, from its first picture on."""

    warmup: float
    seconds: float


def step_report(
    records: Sequence[StreamRecord],
    shot: Shot | None,
    window: Window,
    *,
    silent: bool,
    cpu: float,
    usage: Usage | None,
) -> StepReport:
    """Of streams that ran at once. `shot`: what they were fed with; None: nothing. `silent`: the
    pipeline says itself that it has no sound. `cpu`: cores that this process took."""
    found = [_stream(record, shot, window, silent) for record in records]
    aged = [age for record in records for _, age in _ages(record, window)]
    each = [report for report, _ in found]
    timed = [one for _, latencies in found for one in latencies]
    first = 0 if shot is None else math.ceil(window.warmup * shot.rate)
    late = sorted(one for record in records for one in record.late[first:])
    p99 = late[int(len(late) * 0.99)] if late else 0.0
    sent = sum(one.sent for one in each)
    return StepReport(
        streams=len(records),
        seconds=window.seconds,
        latency=figures([took for _, took in timed]),
        records=all_records([one.records for one in each], aged),
        fps_in=max(one.fps_in for one in each),
        fps_out=min(one.fps_out for one in each),
        dropped_share=round(sum(one.dropped for one in each) / sent, 4) if sent else 0.0,
        freezes=sum(one.freezes for one in each),
        each=each,
        generator_late_ms=_ms(p99),
        generator_cpu=round(cpu, 2),
        limit=_limit(p99, sum(record.missed for record in records), cpu, shot),
        usage=usage,
        curve=curve([took for _, took in timed]),
        over_time=over_time([(at - window.warmup, took) for at, took in timed], window.seconds),
    )


def _limit(late: float, missed: int, cpu: float, shot: Shot | None) -> str:
    told = ""
    if shot is not None and late > LATE_SHARE / shot.rate:
        told = f"1 picture in 100 was handed over {late * 1000:.0f} ms late or more"
    elif missed:
        told = f"it was too slow to look at {missed} pictures"
    elif cpu > BUSY * (cores := os.cpu_count() or 1):
        told = f"it took {cpu:.1f} of {cores} cores"
    return f"the generator was the limit: {told}" if told else ""


def _stream(
    record: StreamRecord, shot: Shot | None, window: Window, silent: bool
) -> tuple[StreamReport, list[tuple[float, float]]]:
    """The report, and the latencies: when each was due and how long it took, in seconds."""
    if shot is None:
        return _report(record, window, NO_MATCH, [], 0, "the pipeline is fed nothing")
    if not shot.pictures:
        begin = window.warmup
        timed = [
            (each.end, each.at - record.began - each.end)
            for each in record.pieces
            if begin <= each.at - record.began < begin + window.seconds
        ]
        by_time = Match("pts", {}, 0)
        return _report(record, window, by_time, timed, 0, "the pipeline has no pictures")
    interval = 1 / shot.rate
    found = match(record, interval)
    first = math.ceil(window.warmup / interval)
    sent = max(0, len(record.late) - first)
    timed = found.latencies(record, interval, first)
    apart = skews(record, found, interval) if shot.clicks and not silent else []
    if apart:
        return _report(record, window, found, timed, sent, _skew(apart))
    if silent or not record.pieces:
        why = "the pipeline has no sound"
    elif not shot.clicks:
        why = "a clip's own sound has no clicks"
    elif found.by != "number":
        why = "its pictures carry no readable number"
    else:
        why = "the clicks cannot be told in its sound"
    return _report(record, window, found, timed, sent, why)


def _report(
    record: StreamRecord,
    window: Window,
    found: Match,
    timed: list[tuple[float, float]],
    sent: int,
    skew: Skew | str,
) -> tuple[StreamReport, list[tuple[float, float]]]:
    """`skew`: or why there is none."""
    begin = record.began + window.warmup
    end = begin + window.seconds
    aged = _ages(record, window)
    # Neither pictures nor sound: it has no output but records, and what it was fed is not lost.
    only_records = bool(record.records) and not (record.pictures or record.pieces)
    if only_records:
        timed, found, skew = aged, NO_MATCH, "it gives nothing but records"
    latencies = [took for _, took in timed]
    came = [each.at for each in record.pictures or record.pieces]
    within = [at for at in came if begin <= at < end]
    still = record.refused or only_records
    gaps = [] if still else [b - a for a, b in pairwise([begin, *within, end])]
    frozen = [gap for gap in gaps if gap > FREEZE_SECONDS]
    beat = jitter(latencies)
    received = len(latencies) if sent and not only_records else 0
    first = came or [one.at for one in record.records]
    report = StreamReport(
        fps_in=round(sent / window.seconds, 2),
        fps_out=round(len(within) / window.seconds, 2) if record.pictures else 0.0,
        sent=sent,
        received=received,
        dropped=sent - received if found.by != "nothing" else 0,
        repeated=found.repeated,
        unreadable=sum(one.number is None and begin <= one.at < end for one in record.pictures),
        matched_by=found.by,
        latency=figures(latencies),
        records=records_report(record.records, aged, begin, end, record.emitted),
        only_records=only_records,
        jitter_ms=None if beat is None else _ms(beat),
        freezes=len(frozen),
        frozen_seconds=round(math.fsum(frozen), 3),
        longest_gap_ms=_ms(max(gaps)) if gaps else None,
        start_ms=_ms(record.answered - record.asked) if record.answered else None,
        first_ms=_ms(first[0] - record.asked) if first else None,
        skew=skew if isinstance(skew, Skew) else None,
        no_skew=skew if isinstance(skew, str) else "",
        refused=record.refused,
        ended=record.ended,
    )
    return report, timed


def _ages(record: StreamRecord, window: Window) -> list[tuple[float, float]]:
    begin = record.began + window.warmup
    return ages(record.records, record.began, begin, begin + window.seconds)


def _skew(apart: Sequence[float]) -> Skew:
    return Skew(
        median_ms=_ms(median(apart)), min_ms=_ms(min(apart)), max_ms=_ms(max(apart)),
        marks=len(apart),
    )  # fmt: skip


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
