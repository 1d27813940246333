"""How many bytes are moved at a time, and the buffer that sockets are read into."""

from __future__ import annotations

from typing import Final

PIECE: Final = 120 * 1024
"""Most bytes that are read, copied or written in one go, here and in the server.

From 128 KiB on, glibc's malloc takes fresh pages for each piece of memory, as long as it has not
learnt better, and the system clears them: with pieces of 256 KiB, which is what asyncio reads of
itself, a relay then runs at half its speed (`benchmarks/RESULTS.md`, media). asyncio (3.11) also
moves the rest of what it has not sent yet after each send, which is slow where that is megabytes.
"""

GATHER: Final = 1024 * 1024
"""Most bytes of a segment that the server takes from its publisher in one read, and gives to a
reader in one write, out of the pieces that are kept: what gathered while it was busy costs little
more than its copying."""

_TLS_RECORD: Final = 32 * 1024
"""Bytes; more than a TLS record has. OpenSSL holds one that has come in part, and does not count
it."""


class ReadBuffer:
    """One buffer for all connections of an event loop: bytes are copied out before the next read.

    A socket is read as many bytes at a time as its protocol wants, `size` at most. A TLS connection
    has to get room for all that has come: where its peer has closed, asyncio fills the buffer once
    more and drops the rest, and uvloop drops it at once (`SSLProtocol._do_flush`, in both).
    """

    def __init__(self, size: int) -> None:
        self._all = memoryview(bytearray(size))
        self._plain = self._all

    def plain(self, size: int) -> memoryview:
        """Room for a read from a socket, `size` bytes at most."""
        return self._plain[:size]

    def secure(self, waiting: int) -> memoryview:
        """Room for a read from TLS; `waiting` is the event loop's hint of the bytes it has."""
        room = max(waiting, 0) + _TLS_RECORD
        if room > len(self._all):
            size = len(self._plain)
            self._all = memoryview(bytearray(room))
            self._plain = self._all[:size]
        return self._all

    def view(self, count: int) -> memoryview:
        """The bytes that the last read left, until the next."""
        return self._all[:count]

    def take(self, count: int) -> bytes:
        """A copy of the bytes that the last read left."""
        return bytes(self._all[:count])
