"""What all streams of a process share: the pipeline's attributes, and the codecs."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Iterator
from fractions import Fraction

from livepeer.runner.author.live_pipeline import LivePipeline

logger = logging.getLogger(__name__)

_CONTAINERS = (list, dict, set, bytearray, deque)
# Comparing is cheap only for what is small; large tables are loaded once and read.
_LARGEST = 10_000
_SAMPLES = 4096
"""Elements of an array that are compared: of a large one every n-th."""


class SharedState:
    """Remembers the containers and arrays that `setup` or the class made, to notice a write."""

    def __init__(self, shared: LivePipeline) -> None:
        self._before = {
            name: (value, _shape(value), where)
            for name, value, where in _attributes(shared)
            if _is_watched(value)
        }
        self._told: set[str] = set()

    def check(self, copy: LivePipeline) -> list[str]:
        """Warn once for each attribute that was changed in place; returns their names."""
        changed = []
        for name, (value, shape, where) in self._before.items():
            if name in self._told or getattr(copy, name, None) is not value:
                continue
            if not _is_watched(value) or _shape(value) != shape:
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


def _is_watched(value: object) -> bool:
    if isinstance(value, _CONTAINERS):
        return len(value) <= _LARGEST
    return _is_array(value)


def _is_array(value: object) -> bool:
    # Without importing it: a class that has none need not load it.
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray) and value.size > 0


def _shape(value: object) -> object:
    """Enough of the content to notice a change: a container's elements by identity, in order; of
    an array the bytes of some."""
    if _is_array(value):
        step = max(1, value.size // _SAMPLES)  # type: ignore[attr-defined]
        return value.flat[::step].tobytes()  # type: ignore[attr-defined]
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


def load_media() -> None:
    """Load FFmpeg and open its codecs, so that no stream waits for it: 0.5 s on a slow disk."""
    import numpy as np

    from livepeer.trickle.media import (
        AudioFrame,
        MediaPublisher,  # noqa: F401 — loaded, with all that it needs
        MediaSubscriber,  # noqa: F401
        VideoFrame,
        decode,
        encode,
    )

    picture = VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), time=Fraction(0))
    sound = AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), rate=48_000, time=Fraction(0))
    clip = encode([picture, sound], None)
    assert clip is not None
    for _ in decode(clip):
        pass
