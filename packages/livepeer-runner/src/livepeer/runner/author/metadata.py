"""Checks of what an author writes into the body of a pipeline class."""

from __future__ import annotations

import math


def check(cls: type, name: str, good: bool, what: str) -> None:
    """Raises `ValueError` that says what to write, unless it is good."""
    if not good:
        value = getattr(cls, name)
        raise ValueError(f"{cls.__name__}.{name} is {value!r}: write {what}")


def is_number(value: object, *, zero: bool = False) -> bool:
    """A finite number above 0, or 0 where `zero` allows it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and (value > 0 or (zero and value == 0))


def is_count(value: object, *, zero: bool = False) -> bool:
    """A whole number, 1 or more, or 0 where `zero` allows it."""
    return isinstance(value, int) and is_number(value, zero=zero)
