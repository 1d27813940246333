"""One timeline out of a stream's clock, and times for pictures of which not each is told."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer.trickle.media.frame.clock import (
    MPEG_WRAP,
)
from livepeer.trickle.media.ts.picture_times import PictureTimes
from livepeer.trickle.media.ts.timeline import Timeline


@given(
    start=st.integers(0, MPEG_WRAP - 1),
    steps=st.lists(st.integers(-90_000, 3 * 90_000), min_size=1, max_size=200),
)
def test_any_walk_across_the_wrap_comes_out_as_it_was_taken(start: int, steps: list[int]) -> None:
    timeline = Timeline()
    true = highest = start
    assert timeline.place(true % MPEG_WRAP) == start
    for step in steps:
        true = highest + step
        highest = max(highest, true)
        assert timeline.place(true % MPEG_WRAP) == true
    assert timeline.restarts == 0


def test_time_goes_on_rising_over_several_wraps() -> None:
    timeline = Timeline()
    placed = [timeline.place(n * 5_000_000 % MPEG_WRAP) for n in range(6000)]
    assert placed == [n * 5_000_000 for n in range(6000)]


@given(steps=st.lists(st.integers(1, 60 * 90_000), min_size=1, max_size=50))
def test_a_stream_of_a_few_pictures_a_minute_keeps_its_times(steps: list[int]) -> None:
    timeline = Timeline()
    true = timeline.place(5)
    for step in steps:
        true += step
        assert timeline.place(true % MPEG_WRAP) == true


def test_a_publisher_that_restarts_at_zero_continues_where_it_ended() -> None:
    timeline = Timeline()
    assert timeline.place(9_000_000) == 9_000_000
    assert timeline.place(9_003_000) == 9_003_000
    assert timeline.place(0) == 9_003_000 + Timeline.STEP
    assert timeline.place(3_000) == 9_006_000 + Timeline.STEP
    assert timeline.restarts == 1


def test_the_other_track_shares_the_new_epoch_and_late_packets_keep_the_old_one() -> None:
    timeline = Timeline()
    timeline.place(8_999_000)
    timeline.place(9_000_000)
    first = timeline.place(0)
    assert timeline.place(9_001_920) == 9_001_920
    assert timeline.place(1_920) == first + 1_920
    assert timeline.place(9_003_840) == 9_003_840
    assert timeline.place(3_840) == first + 3_840
    assert timeline.restarts == 1


def test_a_damaged_first_timestamp_does_not_found_the_clock() -> None:
    for damage in (0, 1 << 32, 900_000_000):
        timeline = Timeline()
        timeline.place(damage)
        placed = [timeline.place(9_000_000 + n * 3_000) for n in range(10)]
        assert placed[1:] == [9_000_000 + n * 3_000 for n in range(1, 10)]


@given(damage=st.integers(0, MPEG_WRAP - 1))
def test_one_damaged_timestamp_never_moves_the_ones_after_it(damage: int) -> None:
    timeline = Timeline()
    for n in range(5):
        timeline.place(9_000_000 + n * 3_000)
    assert timeline.place(damage) <= 9_012_000 + Timeline.PAUSE
    for n in range(6, 20):
        # Within three seconds it is a time like any other; later ones are not touched even then.
        assert timeline.place(9_000_000 + n * 3_000) == 9_000_000 + n * 3_000
    assert timeline.restarts == 0


@pytest.mark.parametrize("minutes", [0.1, 0.9, 5, 9])
def test_a_pause_is_kept_as_a_pause(minutes: float) -> None:
    timeline = Timeline()
    timeline.place(0)
    later = round(minutes * 60 * 90_000)
    timeline.place(later)
    assert timeline.place(later + 3_000) == later + 3_000
    assert timeline.restarts == 0


def test_pictures_are_placed_by_their_dts_and_keep_their_distance() -> None:
    timeline = Timeline()
    assert timeline.place_both(900_000, 0) == (900_000, 0)
    assert timeline.place_both(270_000, 90_000) == (270_000, 90_000)
    assert timeline.place_both(None, None) == (None, None)
    assert timeline.place_both(100_000, None) == (100_000, 100_000)
    # A pts far from its dts is damage.
    assert timeline.place_both(1 << 32, 180_000) == (180_000, 180_000)


def test_a_source_of_a_second_that_loops_goes_on_and_its_tracks_stay_in_sync() -> None:
    """Sound comes late: after the pictures of the next round began it is still of the old one."""
    timeline = Timeline()
    shown, heard = [], []
    for turn in range(5):
        for n in range(25):
            shown.append(timeline.place_both(n * 3600, n * 3600, starts=n == 0)[1])
            at = n - 3
            if at >= 0 or turn:
                heard.append(timeline.place(at % 25 * 3600, "audio", starts=True))
    assert shown == [n * 3600 for n in range(125)]
    assert heard == [n * 3600 for n in range(122)]
    assert timeline.restarts == 4


def test_pictures_without_dts_that_are_shown_in_another_order_are_no_restart() -> None:
    timeline = Timeline()
    order = [0, 4, 2, 1, 3, 8, 6, 5, 7]
    for gop in range(5):
        for n in order:
            pts = (gop * 30 + n) * 3600
            assert timeline.place_both(pts, None, starts=n == 0) == (pts, pts)
    assert timeline.restarts == 0


@given(damage=st.integers(0, MPEG_WRAP - 1))
def test_one_damaged_time_at_a_keyframe_moves_nothing(damage: int) -> None:
    timeline = Timeline()
    for n in range(20):
        timeline.place(9_000_000 + n * 3_000, "video", starts=n % 10 == 0)
    timeline.place(damage, "video", starts=True)
    for n in range(21, 60):
        true = 9_000_000 + n * 3_000
        assert timeline.place(true, "video", starts=n % 10 == 0) == true
    assert timeline.restarts == 0


def timed(told: list[int | None], **options: Any) -> list[tuple[int, int]]:
    times: PictureTimes[int] = PictureTimes()
    out = []
    for number, pts in enumerate(told):
        out += times.add(number, pts, **options)
    return out + times.give_up(options.get("rate"), options.get("latest", 0))


def test_a_time_that_is_told_is_given_at_once_and_others_at_the_distance_of_those() -> None:
    times: PictureTimes[str] = PictureTimes()
    assert times.add("a", 900) == [("a", 900)]
    assert times.add("b", None) == []
    assert times.add("c", 8100) == [("b", 4500), ("c", 8100)]
    # From here on nothing waits.
    assert times.add("d", None) == [("d", 11_700)]
    times.lose()
    assert times.add("e", None) == []
    assert times.add("f", 90_000) == [("e", 86_400), ("f", 90_000)]


def test_pictures_that_have_no_times_at_all_go_on_at_their_rate() -> None:
    assert timed([None] * 30) == [(n, n * 3000) for n in range(30)]
    assert timed([None] * 30, rate=Fraction(25)) == [(n, n * 3600) for n in range(30)]
    assert timed([None] * 3, rate=Fraction(90_000), latest=500) == [
        (0, 500),
        (1, 3500),
        (2, 6500),
    ]
    assert timed([None] * 30, rate=Fraction(30_000, 1001))[-1] == (29, 29 * 3003)


def test_a_damaged_first_time_of_a_track_is_no_restart() -> None:
    timeline = Timeline()
    for n in range(3):
        timeline.place(90_000 + n * 3_000, "video", starts=n == 0)
    timeline.place(90_000 + 241_144, "audio", starts=True)
    for n in range(1, 30):
        true = 90_000 + n * 1_920
        assert timeline.place(true, "audio", starts=True) == true
    assert timeline.restarts == 0
