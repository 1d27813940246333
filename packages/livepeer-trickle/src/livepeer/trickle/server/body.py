"""A body in chunks, as publishers send it: cut into pieces without a parser that copies each."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Final

from livepeer.trickle.http.buffer import PIECE

_LINE: Final = 10
"""Longest plain size with its line end."""
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


class PlainChunks:
    """Takes the chunks of a body that are plain: a size above 0 of at most eight hexadecimal
    digits, the bytes, a line end.

    Anything else is left to the parser that read the head, at the beginning of a chunk: the end of
    the body with its trailer, extensions, and what is ill-formed. So that one parser alone decides
    what is HTTP and where a message ends.
    """

    __slots__ = ("_begun", "_left", "rest")

    def __init__(self) -> None:
        self.rest: bytes | None = None
        """Bytes of the connection from the first chunk on that is not plain."""
        self._left = 0
        """Bytes of the chunk that are still to come, with its line end."""
        self._begun = b""

    def feed(self, data: memoryview) -> list[bytes]:
        """The bytes of the body in `data`, joined and cut to pieces of 120 KiB at most."""
        pieces: list[bytes] = []
        parts: list[memoryview] = []
        room = PIECE
        for part in self._bodies(data):
            while part:
                parts.append(part[:room])
                part = part[room:]
                room -= len(parts[-1])
                if not room:
                    pieces.append(b"".join(parts))
                    parts, room = [], PIECE
        if parts:
            pieces.append(b"".join(parts))
        return pieces

    def _bodies(self, data: memoryview) -> Iterator[memoryview]:
        if self._begun:
            data, self._begun = memoryview(self._begun + data), b""
        position, end = 0, len(data)
        while position < end:
            left = self._left
            if left > 2:
                size = min(left - 2, end - position)
                yield data[position : position + size]
                position += size
                self._left = left - size
            elif left:
                if data[position] != b"\n\r"[left - 1]:
                    self.rest = _ILL_FORMED
                    return
                position += 1
                self._left = left - 1
            else:
                line = bytes(data[position : position + _LINE])
                stop = line.find(b"\r\n")
                if stop < 0 and len(line) < _LINE and _HEX.issuperset(line.removesuffix(b"\r")):
                    self._begun = line
                    return
                size = _size(line[:stop]) if stop > 0 else 0
                if not size:
                    self.rest = bytes(data[position:])
                    return
                position += stop + 2
                self._left = size + 2


_ILL_FORMED: Final = b"!\r\n"
"""No size of a chunk: a chunk is longer than its size, and the parser is to refuse the message."""


@functools.lru_cache(maxsize=256)
def _size(digits: bytes) -> int:
    """The size of a chunk; 0 where it is not a plain one."""
    return int(digits, 16) if _HEX.issuperset(digits) else 0
