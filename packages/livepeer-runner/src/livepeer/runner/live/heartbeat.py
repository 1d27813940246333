"""The status events of a stream, from its first moment to its last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from livepeer.runner.live.request import label
from livepeer.runner.live.stream import Stream

logger = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
"""A gateway ends a stream that is silent on events (looked at every 10 s); a caller of ours takes
15 s of silence for the end of the container."""
NEWS_SECONDS = 0.5
"""Least time between two status events; a change of state or parameters does not wait longer."""


class Heartbeat:
    """Puts one onto the events every few seconds, and soon after a change."""

    def __init__(self, stream: Stream, refresh: Callable[[], None]) -> None:
        self._stream = stream
        self._refresh = refresh
        self._news = asyncio.Event()

    def news(self) -> None:
        """Something has changed that the caller waits for."""
        self._news.set()

    def event(self) -> dict[str, Any]:
        self._refresh()
        return self._stream.status.event(self._stream.events, self._stream.data)

    async def run(self) -> None:
        while True:
            self._news.clear()
            self._stream.events.put(self.event())
            self._warn_of_slow_hook()
            await asyncio.sleep(NEWS_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS - NEWS_SECONDS):
                    await self._news.wait()

    def _warn_of_slow_hook(self) -> None:
        slow = self._stream.status.running.news()
        if slow is not None:
            logger.warning(
                "stream %s: %s has been running for %.1f s%s",
                label(self._stream.request.stream_id),
                slow.name,
                slow.seconds,
                ", waiting for a thread" if slow.waits else "",
            )
