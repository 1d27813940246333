"""What media into and out of a live session have in common."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

from livepeer.client.exceptions import ConfigurationError


def media() -> Any:
    """`livepeer.trickle.media`, or what to install."""
    if any(find_spec(name) is None for name in ("av", "numpy")):
        raise ConfigurationError(
            "frames need PyAV: pip install 'livepeer-client[media]'"
            " (publish_segments, data, events and control work without)"
        )
    from livepeer.trickle import media

    return media


class Returned:
    """How far the pictures that went in have come out again, by the times that they keep."""

    def __init__(self) -> None:
        self._latest: Fraction | None = None
        self._changed = asyncio.Event()

    def came(self, time: Fraction | None) -> None:
        if time is not None and (self._latest is None or time > self._latest):
            self._latest = time
            self._changed.set()

    async def reached(self, time: Fraction | None, seconds: float) -> None:
        """Until the picture of `time` has come out; `seconds` at most, for a pipeline that gives
        out pictures of its own, none, or to nobody here."""
        try:
            async with asyncio.timeout(seconds):
                while time is None or self._latest is None or self._latest < time:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
