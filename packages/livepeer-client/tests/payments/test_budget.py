"""What may be spent is never exceeded by what is, whoever spends it at once."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest

from livepeer.client.config import wei
from livepeer.client.exceptions import PaymentRequiredError
from livepeer.client.payments.budget import Budget

THIRD = Fraction(1, 3)


def test_a_limit_is_met_to_the_last_fraction_and_not_exceeded_by_one() -> None:
    budget = Budget(10 * THIRD)
    for _ in range(10):
        with budget.held(THIRD) as holding:
            assert holding.take(THIRD)
    assert budget.spent == 10 * THIRD
    with pytest.raises(PaymentRequiredError, match="max_spend"), budget.held(Fraction(1, 10**30)):
        pass
    with budget.held(Fraction(0)) as holding:
        assert not holding.take(Fraction(1, 10**30))
    assert budget.spent == 10 * THIRD


def test_what_a_setting_says_in_decimals_is_that_number() -> None:
    """0.303 is no binary number: 303 wei for each 1,000 units would be above it."""
    assert wei("max_price", 0.303) == Fraction(303, 1000)
    assert wei("max_price", 3e9) == 3 * 10**9
    assert wei("max_price", Fraction(1, 3)) == THIRD
    assert wei("max_price", 0.1 + 0.2) == Fraction("0.30000000000000004")


def test_a_payment_that_is_dearer_than_thought_leaves_others_what_they_have_set_aside() -> None:
    budget = Budget(Fraction(50))
    with budget.held(Fraction(24)) as mine, budget.call(None).held(Fraction(24)) as others:
        assert not mine.take(Fraction(32))  # 32 and 24 are more than 50
        assert mine.take(Fraction(26))
        assert others.take(Fraction(24))
    assert budget.spent == 50


def test_what_is_not_taken_is_given_back_also_where_it_failed() -> None:
    gateway = Budget(Fraction(10))
    call = gateway.call(Fraction(5))
    with pytest.raises(RuntimeError), call.held(Fraction(5)):
        raise RuntimeError
    with pytest.raises(PaymentRequiredError, match="this call"), call.held(Fraction(6)):
        pass
    with gateway.held(Fraction(10)) as all_of_it:
        assert all_of_it.take(Fraction(10))
    assert (gateway.spent, call.spent) == (10, 0)


def test_a_listener_that_fails_changes_no_sum() -> None:
    gateway = Budget()

    def broken(spent: Fraction) -> None:
        raise RuntimeError

    call = gateway.call(None)
    call.listen(broken)
    with pytest.raises(RuntimeError), call.held(Fraction(1)) as holding:
        holding.take(Fraction(1))
    assert call.spent == gateway.spent == 1


def test_many_threads_spend_all_of_it_and_no_more() -> None:
    limit = Fraction(1_000)
    gateway = Budget(limit)

    def spend(seed: int) -> Fraction:
        chance = random.Random(seed)
        call, took = gateway.call(limit / 4), Fraction(0)
        for _ in range(300):
            amount = Fraction(chance.randrange(1, 40), 7)
            try:
                with call.held(amount) as holding:
                    assert gateway.spent <= limit
                    match chance.randrange(4):
                        case 0:
                            raise RuntimeError  # a refund
                        case 1 if not holding.take(2 * amount):
                            continue
                        case 1:
                            took += 2 * amount
                        case _:
                            assert holding.take(amount)
                            took += amount
            except (PaymentRequiredError, RuntimeError):
                continue
        assert call.spent == took <= limit / 4
        return took

    with ThreadPoolExecutor(8) as threads:
        taken = sum(threads.map(spend, range(8)), Fraction(0))
    assert gateway.spent == taken <= limit
    # Nothing is set aside any more: what is left can be spent.
    with gateway.held(limit - taken) as rest:
        assert rest.take(limit - taken)
    assert gateway.spent == limit
