"""What is said of streams whose pictures came at known moments."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import pytest

from livepeer.runner.bench.compare import compare
from livepeer.runner.bench.live.camera import clicked
from livepeer.runner.bench.live.ramp import StreamAim, counts, ramp
from livepeer.runner.bench.live.records import EmittedRecords, SeenRecord, record_time
from livepeer.runner.bench.live.report import LiveReport, StepReport, Window, step_report
from livepeer.runner.bench.live.shot import Shot
from livepeer.runner.bench.live.stream import HeardPiece, SeenPicture, StreamRecord
from livepeer.runner.bench.report import BenchReport, host

SHOT, WINDOW = Shot(640, 360, 30), Window(1.0, 20.0)
SENT = 630


def record(pictures: Iterable[SeenPicture], *, late: float = 0.0) -> StreamRecord:
    """Fed from moment 100 on; the start was asked for half a second before."""
    return StreamRecord(
        asked=99.5, answered=99.6, began=100.0, late=[late] * SENT, pictures=list(pictures)
    )


def picture(
    index: int, latency: float, *, number: int | None = -1, shift: float = 0.0
) -> SeenPicture:
    given = index if number == -1 else number
    return SeenPicture(100 + index / 30 + latency, given, index / 30 + shift)


def step(*records: StreamRecord, shot: Shot | None = SHOT, silent: bool = True) -> StepReport:
    return step_report(records, shot, WINDOW, silent=silent, cpu=0.3, usage=None)


def test_latency_loss_and_jitter_are_told() -> None:
    """Each tenth picture is lost, the others take 40 and 60 ms in turns."""
    came = [picture(index, 0.04 if index % 2 else 0.06) for index in range(SENT) if index % 10 != 0]
    found = step(record(came))
    (one,) = found.each
    assert (one.sent, one.dropped, one.received, one.repeated) == (600, 60, 540, 0)
    assert one.fps_in == 30 and one.fps_out == pytest.approx(27, abs=0.1)
    told = one.latency.percentiles
    assert told["p50"].ms == pytest.approx(40, abs=0.01)
    assert told["p99"].ms == pytest.approx(60, abs=0.01)
    # Eight of nine neighbours differ by 20 ms, one of nine has the lost picture between.
    assert one.jitter_ms == pytest.approx(20 * 8 / 9, rel=0.01)
    assert one.first_ms == pytest.approx((0.5 + 1 / 30 + 0.04) * 1000, abs=0.1)
    assert one.matched_by == "number" and one.no_skew == "the pipeline has no sound"
    assert found.dropped_share == 0.1 and not found.limit


def test_what_freezes_is_counted_once_for_each_time() -> None:
    """For half a second from second 5 on, and a whole one from second 12 on, none comes out."""

    def latency(index: int) -> float:
        for begin, length in ((5.0, 0.5), (12.0, 1.0)):
            if begin <= index / 30 < begin + length:
                return 0.02 + begin + length - index / 30
        return 0.02

    one = step(record(picture(index, latency(index)) for index in range(SENT))).each[0]
    assert one.freezes == 2 and one.frozen_seconds == pytest.approx(1.5, abs=0.1)
    assert one.longest_gap_ms == pytest.approx(1033, abs=40) and one.dropped == 0
    assert one.latency.percentiles["p99"].ms > 500


def test_a_stream_that_ends_early_is_frozen_from_then_on() -> None:
    one = step(record(picture(index, 0.02) for index in range(300))).each[0]
    assert one.freezes == 1 and one.frozen_seconds == pytest.approx(11, abs=0.1)


def test_pictures_that_come_again_are_told_apart_from_those_that_are_lost() -> None:
    came = [picture(index // 2 * 2, 0.02 + index % 2 / 30) for index in range(SENT)]
    one = step(record(came)).each[0]
    assert one.repeated == SENT // 2 and one.dropped == 300 == one.received


def test_without_numbers_times_match_and_without_either_nothing_is_claimed() -> None:
    one = step(record(picture(index, 0.03, number=None) for index in range(SENT))).each[0]
    assert one.matched_by == "pts" and one.unreadable == 600
    assert one.latency.percentiles["p50"].ms == pytest.approx(30, abs=0.01)
    # A clock of its own: no time of it is one of ours, or it would have come before it was sent.
    one = step(record(picture(index, 0.03, number=None, shift=1000) for index in range(SENT))).each[
        0
    ]
    assert one.matched_by == "nothing" and one.latency.count == 0 and one.fps_out == 30


def test_a_few_pictures_that_cannot_be_read_are_lost_and_told() -> None:
    came = [picture(i, 0.02, number=None if i % 20 == 0 else i) for i in range(SENT)]
    one = step(record(came)).each[0]
    assert one.matched_by == "number" and one.unreadable == 30 == one.dropped


def test_numbers_begin_again_after_65536_pictures() -> None:
    long = StreamRecord(asked=0, answered=0, began=0.0, late=[0.0] * 70_000)
    long.pictures = [
        SeenPicture(index / 30 + 0.05, index % 65_536, index / 30) for index in range(70_000)
    ]
    one = step_report(
        [long], SHOT, Window(2200, 100), silent=True, cpu=0.1, usage=None
    ).each[0]  # fmt: skip
    assert one.dropped == 0 and one.latency.max_ms == pytest.approx(50, abs=0.1)


@pytest.mark.parametrize("later", [-0.08, 0.0, 0.12])
def test_sound_beside_its_pictures(later: float) -> None:
    one = record(picture(index, 0.05, shift=0.2) for index in range(SENT))
    one.pieces = [HeardPiece(101.0, 1.0)]
    for second in range(20):
        middle = clicked(second) + 0.2 + later
        one.heard += [(middle - 0.0015 + i * 0.001, e) for i, e in enumerate((0.2, 0.5, 0.2))]
    (found,) = step(one, silent=False).each
    assert found.skew is not None and found.skew.marks == 20
    assert found.skew.median_ms == pytest.approx(later * 1000, abs=1.5)
    one.heard = [(at / 1000, 0.4) for at in range(20_000)]  # a tone
    (found,) = step(one, silent=False).each
    assert found.skew is None and "clicks cannot be told" in found.no_skew


def test_a_generator_that_is_late_says_so() -> None:
    came = [picture(index, 0.02) for index in range(SENT)]
    assert "the generator was the limit" in step(record(came, late=0.02)).limit
    slow = record(came)
    slow.missed = 3
    assert "too slow to look at 3 pictures" in step(slow).limit


# --- more and more streams -----------------------------------------------------------------------


def holding(most: int, tried: list[int], *, limit_at: int = 1000):  # type: ignore[no-untyped-def]
    """A target that bears `most` streams: of more, each loses half of its pictures."""

    async def measure(count: int) -> StepReport:
        tried.append(count)
        every = 1 if count <= most else 2
        came = [picture(index, 0.02) for index in range(0, SENT, every)]
        found = step(*[record(came)] * count)
        found.limit = "the generator was the limit: it was" if count >= limit_at else ""
        return found

    return measure


@pytest.mark.parametrize(
    ("most", "held", "failed"), [(0, None, 1), (1, 1, 2), (5, 5, 6), (9, 8, None)]
)
async def test_the_most_streams_are_found(most: int, held: int | None, failed: int | None) -> None:
    tried: list[int] = []
    aim = StreamAim.of("drops<5%,p95<30ms")
    found = await ramp(aim, holding(most, tried), [1, 8], search=True)
    assert (found.streams, found.failed_at) == (held, failed) and len(tried) <= 6
    if failed is not None:
        assert "300 of 600 pictures" in found.reason


async def test_a_list_of_streams_is_tried_up_to_the_first_that_breaks() -> None:
    tried: list[int] = []
    found = await ramp(StreamAim.of("fps>20"), holding(3, tried), [1, 2, 4, 8], search=False)
    assert (found.streams, found.failed_at, tried) == (2, 4, [1, 2, 4])
    assert "gave 15 pictures a second" in found.reason


async def test_a_generator_that_is_the_limit_is_no_verdict_on_the_target() -> None:
    found = await ramp(StreamAim.of("fps>20"), holding(9, [], limit_at=4), [1, 8], search=True)
    assert (found.streams, found.failed_at) == (2, None) and "at least" in found.reason


def test_aims_and_counts_that_are_none_are_refused() -> None:
    assert counts("1..8") == ([1, 8], True) and counts("1,2, 4") == ([1, 2, 4], False)
    for text in ("0", "8..1", "many", "1..999", ""):
        with pytest.raises(ValueError, match=r"streams are|lower"):
            counts(text)
    for text in ("p42<1s", "fps<10", "fast"):
        with pytest.raises(ValueError, match="is not an aim for streams"):
            StreamAim.of(text)


def test_a_percentile_that_pictures_cannot_carry_misses_its_aim() -> None:
    few = step_report(
        [record(picture(index, 0.02) for index in range(200))], SHOT, Window(1.0, 4.0),
        silent=True, cpu=0.1, usage=None,
    )  # fmt: skip
    assert "are too few for p99" in StreamAim.of("p99<1s").missed(few)
    assert Fraction(1, 30) == 1 / SHOT.rate


def test_streams_of_two_reports_are_compared_by_how_many_there_are() -> None:
    def report(latency: float, every: int = 1) -> BenchReport:
        came = [picture(index, latency + index % 7 / 1000) for index in range(0, SENT, every)]
        live = LiveReport(picture="640x360@30", sound=True, steps=[step(record(came))])
        return BenchReport(
            target="x", pipeline="x", pipeline_version="1", kind="live", host=host(), at="",
            live=live,
        )  # fmt: skip

    assert {each.verdict for each in compare(report(0.02), report(0.02))} == {"same"}
    worse = {each.figure: each.verdict for each in compare(report(0.02), report(0.05, 2))}
    assert worse["p50"] == worse["pictures/s"] == "worse"
    assert {each.verdict for each in compare(report(0.05), report(0.02))} == {"better", "same"}


def records(count: int, age: float, *, lost: int = 0, times: bool = True) -> StreamRecord:
    """Ten a second, from the first moment on; nothing else comes out."""
    found = record([])
    for index in range(count):
        at = index / 10
        found.records.append(SeenRecord(100 + at + age, at if times else None))
    found.emitted = EmittedRecords(count, lost)
    return found


def test_records_are_told_by_rate_age_and_loss() -> None:
    found = step(records(210, 0.05, lost=20))
    assert found.only_records and found.records is not None and found.freezes == 0
    assert (found.records.received, found.records.per_second) == (200, 10)
    assert (found.records.emitted, found.records.lost) == (230, 20)
    assert found.records.age.percentiles["p95"].ms == pytest.approx(50)
    assert found.latency == found.records.age and not found.dropped_share
    assert "230 records" in StreamAim.of("drops<5%").missed(found)
    assert StreamAim.of("drops<10%,freezes<1,p95<60ms,records>9").missed(found) == ""
    assert "gave 10 records a second" in StreamAim.of("records>10").missed(found)
    assert "p95 was 50.0 ms" in StreamAim.of("p95<40ms").missed(found)


@pytest.mark.parametrize("age", [-0.5, None])
def test_records_that_say_no_moment_of_the_stream_have_no_age(age: float | None) -> None:
    """None, or seconds since 1970, or what is yet to come."""
    found = step(records(210, age or 0.0, times=age is not None))
    assert found.records is not None and "no moment of the stream" in found.records.no_age
    assert found.records.age.count == 0 and found.records.lost == 0


def test_records_whose_end_was_not_heard_are_not_called_lost() -> None:
    silent = records(210, 0.05)
    silent.emitted = None
    found = step(silent, records(210, 0.05, lost=3))
    assert found.records is not None and found.records.lost is None
    assert [one.records.lost for one in found.each if one.records is not None] == [None, 3]
    assert EmittedRecords.of({"output_status": {"records_sent": True}}) is None
    assert [record_time(one) for one in ({"end": 2}, {"time": "2"}, {"time": float("inf")})] == [
        2.0,
        None,
        None,
    ]


def test_records_beside_pictures_are_told_apart_from_them() -> None:
    both = record([picture(index, 0.04) for index in range(SENT)])
    both.records = [SeenRecord(100 + at + 0.3, float(at)) for at in range(21)]
    found = step(both)
    assert not found.only_records and found.records is not None and found.records.received == 20
    assert found.latency.percentiles["p50"].ms == pytest.approx(40)
    assert found.records.age.percentiles["p50"].ms == pytest.approx(300)


def test_records_are_compared() -> None:
    def report(found: StreamRecord) -> BenchReport:
        live = LiveReport(picture="640x360@30", sound=True, steps=[step(found)])
        return BenchReport(
            target="x", pipeline="x", pipeline_version="1", kind="live", host=host(), at="",
            live=live,
        )  # fmt: skip

    def verdicts(before: StreamRecord, after: StreamRecord) -> dict[str, str]:
        return {each.figure: each.verdict for each in compare(report(before), report(after))}

    old = records(210, 0.05)
    assert set(verdicts(old, records(210, 0.051)).values()) == {"same"}
    worse = verdicts(old, records(210, 0.09, lost=30))
    assert worse["age p50"] == worse["share of records that came"] == "worse"
    assert worse["records/s"] == "same" and "p50" not in worse
