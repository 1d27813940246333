"""A hook that is called and called and gives nothing, and no error either: a forgotten `return`."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livepeer.runner.live.stream import Stream
from livepeer.runner.live.request import label

logger = logging.getLogger(__name__)

CALLS = 100
"""After so many without a frame it is told, once."""


class Silence:
    """Of one stream. A class that emits records or events may mean it so, and is left alone."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._calls: Counter[str] = Counter()
        self._told: set[str] = set()

    def gave(self, hook: str, frames: bool) -> None:
        """Whether one call of it came to any."""
        if hook in self._told:
            return
        if frames:
            self._told.add(hook)  # it can: from now on it means what it does
            return
        self._calls[hook] += 1
        if self._calls[hook] < CALLS or self._stream.emitted:
            return
        self._told.add(hook)
        message = (
            f"{hook} has given no frame in {CALLS} calls, so nothing comes out: return the frame, "
            "or frame.replace(...)"
        )
        stream = self._stream
        logger.warning("stream %s: %s", label(stream.request.stream_id), message)
        stream.status.warning = message
        stream.events.put(
            {
                "type": "warning",
                "warning": {"type": "no_output", "message": message},
                "hook": hook,
                "timestamp": time.time(),
            }
        )
