"""Encoded pieces between the encoder's thread and the network."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from livepeer.trickle.media.ts.segments import Piece

BACKLOG_BYTES = 4 << 20
"""The network is behind when so many encoded bytes wait for it, or one has waited so long."""
BACKLOG_SECONDS = 0.5


class SendQueue:
    """Encoded pieces that wait for the network, the one being sent included."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[float, Piece]] = deque()
        self._sending: tuple[float, int] | None = None
        self._bytes = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def empty(self) -> bool:
        return not self._bytes

    @property
    def behind(self) -> bool:
        if not self._bytes:
            return False
        since = self._sending[0] if self._sending else self._pieces[0][0]
        return self._bytes > BACKLOG_BYTES or time.monotonic() - since > BACKLOG_SECONDS

    def put(self, pieces: list[Piece]) -> None:
        if self._closed:
            return
        now = time.monotonic()
        for piece in pieces:
            self._pieces.append((now, piece))
            self._bytes += len(piece.data)
        if self._bytes > BACKLOG_BYTES:
            self._room.clear()
        self._changed.set()

    async def get(self) -> Piece | None:
        """The next piece, when the last one is sent; `None` at the end."""
        if self._sending:
            self._bytes -= self._sending[1]
            self._sending = None
        if self._bytes <= BACKLOG_BYTES // 2:
            self._room.set()
        while not self._pieces:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        since, piece = self._pieces.popleft()
        self._sending = since, len(piece.data)
        return piece

    @property
    def has_room(self) -> bool:
        return self._room.is_set()

    async def room(self) -> None:
        await self._room.wait()

    def close(self) -> None:
        self._closed = True
        self._changed.set()
        self._room.set()

    def discard(self) -> None:
        """Give up what waits, and let nobody wait for it."""
        self._pieces.clear()
        self._bytes, self._sending = 0, None
        self.close()
