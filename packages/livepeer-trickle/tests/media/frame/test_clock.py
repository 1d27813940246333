"""Exact media time, and sound counted by its samples."""

from fractions import Fraction

import pytest

from livepeer.trickle.media.frame.clock import (
    MPEG_TIME_BASE,
    SampleClock,
    exact,
    in_ticks,
    rescale,
)


def test_fractions_and_integers_stay_exact_and_floats_go_to_the_nearest_tick() -> None:
    assert exact(Fraction(1, 3)) == Fraction(1, 3)
    assert exact(7) == 7
    assert exact(0.1) == Fraction(1, 10)
    assert exact(1 / 30) == Fraction(1, 30)


@pytest.mark.parametrize("time", [float("nan"), float("inf"), float("-inf")])
def test_a_time_that_is_not_finite_is_refused(time: float) -> None:
    with pytest.raises(ValueError, match="finite number of seconds"):
        exact(time)


def test_ticks_are_exact_and_rescale_rounds_to_the_nearest_tick() -> None:
    assert in_ticks(Fraction(1, 30)) == (3000, MPEG_TIME_BASE)
    assert in_ticks(Fraction(3, 5) / 90_000) == (1, Fraction(1, 150_000))
    assert rescale(1024, Fraction(1, 44_100), MPEG_TIME_BASE) == 2090
    assert rescale(5, MPEG_TIME_BASE, MPEG_TIME_BASE) == 5


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
