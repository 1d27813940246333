"""What the connections of an event loop are read into: `ReadBuffer`."""

from __future__ import annotations

from typing import Final

_BEGUN: Final = 32 * 1024
"""Bytes; more than a TLS record has. One that has come in part is held by OpenSSL, uncounted."""


class ReadBuffer:
    """One buffer for all: what came is copied out before the loop reads anything else.

    A socket is read as many bytes at a time as its protocol wants, `size` at most. A TLS connection
    has to get room for all that has come: where its peer has closed, asyncio fills the buffer once
    more and drops the rest, and uvloop drops it at once (`SSLProtocol._do_flush`, in both).
    """

    def __init__(self, size: int) -> None:
        self._all = memoryview(bytearray(size))
        self._plain = self._all

    def plain(self, size: int) -> memoryview:
        """Where a socket is read into, `size` bytes at most."""
        return self._plain[:size]

    def secure(self, waiting: int) -> memoryview:
        """Where TLS is read into, of which `waiting` bytes have come: the event loop's hint."""
        room = max(waiting, 0) + _BEGUN
        if room > len(self._all):
            size = len(self._plain)
            self._all = memoryview(bytearray(room))
            self._plain = self._all[:size]
        return self._all

    def take(self, count: int) -> bytes:
        """A copy of what came."""
        return bytes(self._all[:count])
