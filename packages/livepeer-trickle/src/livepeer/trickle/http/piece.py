"""How many bytes are moved at a time: `PIECE`."""

from __future__ import annotations

from typing import Final

PIECE: Final = 120 * 1024
"""Most bytes that are read, copied or written in one go, here and in the server.

From 128 KiB on, glibc's malloc takes fresh pages for each piece of memory, as long as it has not
learnt better, and the system clears them: with pieces of 256 KiB, which is what asyncio reads of
itself, a relay then runs at half its speed (`benchmarks/RESULTS.md`, media). asyncio (3.11) also
moves the rest of what it has not sent yet after each send, which is slow where that is megabytes.
"""
