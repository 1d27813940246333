"""What waits to be sent to a page: bounded, and pictures give way where the page is slow."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from livepeer.runner.playground.units import packed
from livepeer.trickle.media import MediaPacket

MOST_BYTES = 16 * 1024 * 1024
MOST_RECORDS = 1000


class Outgoing:
    """Messages in order. A page that is slow loses pictures, from one to the next that a decoder
    can start at, and the oldest of too many records; both are counted."""

    def __init__(self) -> None:
        self._waiting: deque[bytes | str] = deque()
        self._bytes = 0
        self._records = 0
        self._skips = False
        self._woken = asyncio.Event()
        self._closed = False
        self.dropped = 0

    def tell(self, kind: str, /, **content: Any) -> None:
        """A message of which none is lost; they are few."""
        self._put(json.dumps({"type": kind, **content}, ensure_ascii=False, default=str))

    def record(self, kind: str, record: dict[str, Any]) -> None:
        """One of any number."""
        if self._records >= MOST_RECORDS or self._bytes >= MOST_BYTES:
            self.dropped += 1
            return
        self._records += 1
        self.tell(kind, record=record)

    def media(self, packet: MediaPacket) -> None:
        if packet.kind == "video":
            self._skips = self._bytes > MOST_BYTES or (self._skips and not packet.is_keyframe)
        if self._skips or self._bytes > MOST_BYTES:
            self.dropped += 1
            return
        self._put(packed(packet))

    def close(self) -> None:
        """Nothing follows what waits."""
        self._closed = True
        self._woken.set()

    async def messages(self) -> AsyncIterator[bytes | str]:
        while True:
            while self._waiting:
                message = self._waiting.popleft()
                self._bytes -= len(message)
                if not self._waiting:
                    self._records = 0
                yield message
            if self._closed:
                return
            self._woken.clear()
            await self._woken.wait()

    def _put(self, message: bytes | str) -> None:
        self._waiting.append(message)
        self._bytes += len(message)
        self._woken.set()
