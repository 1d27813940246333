import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer.trickle.protocol.retry import Backoff
from livepeer.trickle.types import Timeouts


def test_delays_double_up_to_the_maximum() -> None:
    backoff = Backoff(budget=None, initial=0.1, maximum=1.0, random=lambda: 1.0)
    assert [backoff.next(0.0) for _ in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 50))
def test_delays_are_spread_over_the_upper_half(jitter: float, tries: int) -> None:
    backoff = Backoff(budget=None, initial=0.1, maximum=1.0, random=lambda: jitter)
    for attempt in range(tries):
        ceiling = min(1.0, 0.1 * 2.0**attempt)
        delay = backoff.next(0.0)
        assert delay is not None
        assert ceiling / 2 <= delay <= ceiling


def test_the_budget_counts_from_the_first_failure() -> None:
    backoff = Backoff(budget=10.0)
    assert backoff.next(100.0) is not None
    assert backoff.next(109.9) is not None
    assert backoff.next(110.0) is None


def test_the_last_try_comes_at_the_end_of_the_budget() -> None:
    backoff = Backoff(budget=1.0, initial=8.0, maximum=8.0)
    assert backoff.next(5.0) == pytest.approx(1.0)


def test_success_starts_a_new_series() -> None:
    backoff = Backoff(budget=1.0, random=lambda: 1.0)
    first = backoff.next(0.0)
    backoff.next(0.5)
    backoff.reset()
    assert backoff.attempt == 0
    assert backoff.next(50.0) == first


def test_an_endless_series_does_not_overflow() -> None:
    backoff = Backoff(budget=None, maximum=0.5)
    for _ in range(2000):
        delay = backoff.next(0.0)
        assert delay is not None
        assert delay <= 0.5


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_a_limit_of_no_time_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"Timeouts\.silence must be above 0"):
        Timeouts(silence=value)
