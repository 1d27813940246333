"""Exact media time."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer.trickle.media.clock import (
    MPEG_TIME_BASE,
    MPEG_WRAP,
    SampleClock,
    exact,
    rescale,
    ticks,
)
from livepeer.trickle.media.timeline import Timeline


def test_fractions_and_integers_stay_exact_and_floats_go_to_the_nearest_tick() -> None:
    assert exact(Fraction(1, 3)) == Fraction(1, 3)
    assert exact(7) == 7
    assert exact(0.1) == Fraction(1, 10)
    assert exact(1 / 30) == Fraction(1, 30)


@pytest.mark.parametrize("time", [float("nan"), float("inf"), float("-inf")])
def test_a_time_that_is_not_finite_is_refused(time: float) -> None:
    with pytest.raises(ValueError, match="finite number of seconds"):
        exact(time)


def test_ticks_and_rescale_round_to_the_nearest_tick() -> None:
    assert ticks(Fraction(1, 30)) == 3000
    assert ticks(Fraction(1, 90_000) * Fraction(3, 5)) == 1
    assert rescale(1024, Fraction(1, 44_100), MPEG_TIME_BASE) == 2090
    assert rescale(5, MPEG_TIME_BASE, MPEG_TIME_BASE) == 5


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


def test_rounded_audio_times_follow_the_count_of_samples() -> None:
    clock = SampleClock()
    times = []
    for n in range(1000):
        told = Fraction(round(n * 1024 * 90_000 / 44_100), 90_000)
        pts, base = clock.place(told, 1024, 44_100)
        times.append(pts * base)
    assert times == [Fraction(n * 1024, 44_100) for n in range(1000)]


def test_a_gap_in_audio_is_kept() -> None:
    clock = SampleClock()
    clock.place(Fraction(0), 960, 48_000)
    pts, base = clock.place(Fraction(1), 960, 48_000)
    assert pts * base == 1
    pts, base = clock.place(None, 960, 48_000)
    assert pts * base == 1 + Fraction(960, 48_000)


def test_pictures_are_placed_by_their_dts_and_keep_their_distance() -> None:
    timeline = Timeline()
    assert timeline.place_both(900_000, 0) == (900_000, 0)
    assert timeline.place_both(270_000, 90_000) == (270_000, 90_000)
    assert timeline.place_both(None, None) == (None, None)
    assert timeline.place_both(100_000, None) == (100_000, 100_000)
    # A pts far from its dts is damage.
    assert timeline.place_both(1 << 32, 180_000) == (180_000, 180_000)
