"""A watch over what the copies of a pipeline share."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator

from livepeer.runner.live.pipeline import LivePipeline

logger = logging.getLogger(__name__)

_CONTAINERS = (list, dict, set, bytearray, deque)
# Comparing is cheap only for what is small; large tables are loaded once and read.
_LARGEST = 10_000


class SharedState:
    """Remembers the containers that `setup` or the class made, to notice a write into one."""

    def __init__(self, shared: LivePipeline) -> None:
        self._before = {
            name: (value, _shape(value), where)
            for name, value, where in _attributes(shared)
            if isinstance(value, _CONTAINERS) and len(value) <= _LARGEST
        }
        self._told: set[str] = set()

    def check(self, copy: LivePipeline) -> list[str]:
        """Warn, once for each, of attributes that were changed in place; returns their names."""
        changed = []
        for name, (value, shape, where) in self._before.items():
            if name in self._told or getattr(copy, name, None) is not value:
                continue
            if len(value) > _LARGEST or _shape(value) != shape:
                self._told.add(name)
                changed.append(name)
                logger.warning(
                    "%s.%s was made in %s, so all streams share it, and a hook has changed it in "
                    "place: make it in on_stream_start() if each stream needs its own",
                    type(copy).__name__,
                    name,
                    where,
                )
        return changed


def _attributes(shared: LivePipeline) -> Iterator[tuple[str, object, str]]:
    for cls in type(shared).__mro__[::-1]:
        if issubclass(cls, LivePipeline) and cls is not LivePipeline:
            for name, value in vars(cls).items():
                if not name.startswith("__") and name != "params":
                    yield name, value, "the class body"
    for name, value in vars(shared).items():
        yield name, value, "setup()"


def _shape(value: object) -> object:
    """Enough of a container's content to notice a change: its elements by identity, in order."""
    for _ in range(3):
        try:
            if isinstance(value, dict):
                return [(id(key), id(one)) for key, one in value.items()]
            if isinstance(value, bytearray):
                return bytes(value)
            if isinstance(value, set):
                return frozenset(map(id, value))
            return [id(one) for one in value]  # type: ignore[attr-defined]  # list or deque
        except RuntimeError:
            continue  # it changed while it was read, in another thread: look again
    return None
