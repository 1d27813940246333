"""A dictionary that forgets: what callers can fill is bounded."""

from __future__ import annotations

from typing import TypeVar

MOST_KEPT = 10_000

_Key = TypeVar("_Key")
_Item = TypeVar("_Item")


class Newest(dict[_Key, _Item]):
    """The newest `MOST_KEPT` entries: one more drops the oldest."""

    def __setitem__(self, key: _Key, item: _Item) -> None:
        while len(self) >= MOST_KEPT and key not in self:
            del self[next(iter(self))]
        super().__setitem__(key, item)
