"""What may be spent, and what has been: of a gateway, and of each of its calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Final

from livepeer.client.exceptions import PaymentRequiredError

_NOTHING: Final = Fraction(0)


class Budget:
    """What may be spent, in wei, and what has been spent; with or without a limit.

    The budget of a call stands on that of its gateway: both are asked before a payment is signed,
    and both count it afterwards. Safe across threads.
    """

    def __init__(self, limit: Fraction | None = None, *, under: Budget | None = None) -> None:
        self._limit, self._under = limit, under
        self._lock = threading.Lock()
        self._spent = self._held = _NOTHING
        self._listeners: list[Callable[[Fraction], None]] = []

    @property
    def spent(self) -> Fraction:
        """Wei of all payments that were signed so far."""
        return self._spent

    @property
    def limited(self) -> bool:
        """Is there a sum that will not be exceeded?"""
        return self._limit is not None or (self._under is not None and self._under.limited)

    def listen(self, listener: Callable[[Fraction], None]) -> None:
        """Call it with what has been spent after each payment, in the thread that makes it."""
        self._listeners.append(listener)

    def call(self, limit: Fraction | None) -> Budget:
        """The budget of one call below this one."""
        return Budget(limit, under=self)

    @contextmanager
    def held(self, amount: Fraction, **where: Any) -> Iterator[Holding]:
        """Set `amount` aside for a payment; what of it is not `taken` is given back.

        Raises `PaymentRequiredError` where it would be too much.
        """
        self._hold(amount, where)
        holding = Holding(self, amount)
        try:
            yield holding
        finally:
            for budget, spent in self._settle(holding.amount, holding.value):
                budget._tell(spent)

    def _hold(self, amount: Fraction, where: dict[str, Any]) -> None:
        if self._under is not None:
            self._under._hold(amount, where)
        with self._lock:
            total = self._spent + self._held + amount
            if self._limit is None or total <= self._limit:
                self._held += amount
                return
        if self._under is not None:
            self._under._settle(amount, Fraction(0))
        whose = "this gateway" if self._under is None else "this call"
        raise PaymentRequiredError(
            f"a payment of {float(amount):g} wei would make {float(total):g} wei spent by {whose},"
            f" whose max_spend is {float(self._limit):g}",
            **where,
        )

    def _settle(self, held: Fraction, taken: Fraction) -> list[tuple[Budget, Fraction]]:
        """What was held is not any more, and what was taken of it is spent; the sums by then."""
        with self._lock:
            self._held -= held
            self._spent += taken
            settled = [(self, self._spent)] if taken else []
        if self._under is not None:
            settled += self._under._settle(held, taken)
        return settled

    def _tell(self, spent: Fraction) -> None:
        for listener in self._listeners:
            listener(spent)


class Holding:
    """What is set aside for one payment."""

    def __init__(self, budget: Budget, amount: Fraction) -> None:
        self._budget = budget
        self.amount = amount
        """Set aside so far."""
        self.value = Fraction(0)
        """What of it was taken."""

    def take(self, value: Fraction) -> bool:
        """It was signed for so much. False where that is more than was set aside, and the rest is
        not there beside what is set aside for others: then it is not to be sent, and does not
        count."""
        if value > self.amount:
            try:
                self._budget._hold(value - self.amount, {})
            except PaymentRequiredError:
                return False
            self.amount = value
        self.value = value
        return True
