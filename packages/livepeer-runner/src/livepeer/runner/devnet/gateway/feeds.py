"""What a gateway keeps of a stream for its callers: the last status, and a feed of its data."""

from __future__ import annotations

import asyncio
from typing import Any

_RING = 5
"""Lines that a reader of data may be behind; more and it loses the oldest."""


class Statuses:
    """The status of each stream by id, also of those that are over."""

    def __init__(self) -> None:
        self._by_stream: dict[str, dict[str, Any]] = {}

    def get(self, stream_id: str) -> dict[str, Any] | None:
        return self._by_stream.get(stream_id)

    def clear(self, stream_id: str) -> None:
        self._by_stream.pop(stream_id, None)

    def note(self, stream_id: str, key: str, value: Any) -> None:
        """Sets one key, whatever else there is."""
        self._by_stream.setdefault(stream_id, {})[key] = value

    def replace(self, stream_id: str, event: dict[str, Any]) -> None:
        """Makes a status event the status, but for two details that an event may leave out."""
        inference = event.get("inference_status")
        last = (self.get(stream_id) or {}).get("inference_status")
        if isinstance(inference, dict) and isinstance(last, dict):
            for key in ("last_restart_logs", "last_params"):
                if inference.get(key) is None:
                    inference[key] = last.get(key)
        self._by_stream[stream_id] = event


class DataFeed:
    """Lines of a data channel for any number of readers, each from where it came in."""

    def __init__(self) -> None:
        self._readers: set[asyncio.Queue[bytes | None]] = set()
        self._closed = False

    def subscribe(self) -> asyncio.Queue[bytes | None]:
        """A queue of lines; None is the end."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_RING + 1)
        if self._closed:
            queue.put_nowait(None)
        self._readers.add(queue)
        return queue

    def unsubscribe(self, queue: asyncio.Queue[bytes | None]) -> None:
        self._readers.discard(queue)

    def write(self, line: bytes) -> None:
        for queue in self._readers:
            while queue.qsize() >= _RING:
                queue.get_nowait()
            queue.put_nowait(line)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            for queue in self._readers:
                queue.put_nowait(None)
