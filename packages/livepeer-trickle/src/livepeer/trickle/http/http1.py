"""Answers of HTTP/1.1, from bytes: no I/O.

As much of HTTP as a client of trickle meets: provisional answers, bodies by length, in chunks, or
up to the end of the connection. It is strict where a lenient reading could lose or mix bytes.
"""

from __future__ import annotations

import functools
import re
from enum import Enum
from typing import Final, NamedTuple

_MAX_HEAD: Final = 64 * 1024
_MAX_LINE: Final = 4096
_MAX_PROVISIONAL: Final = 16
"""Provisional answers before the one that counts."""
_LARGE: Final = 32 * 1024
"""Bytes of a piece that are handed out without being joined with others."""
_SHORT: Final = 256
"""Longest line whose meaning is remembered: the answers of a channel differ in one or two lines."""
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\r\n\0]*)?")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n\0]*)?")
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\r\n\0]*)")


class MalformedAnswer(ValueError):
    """The bytes are not HTTP/1.1."""


class Fields(dict[str, str]):
    """Header fields by name, whatever its case."""

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return super().get(name.lower(), default)

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())


class Head(NamedTuple):
    """The first part of an answer."""

    status: int
    fields: Fields
    keep_alive: bool
    length: int | None
    """Bytes of its body; None where only its end tells."""


class _Part(Enum):
    HEAD = "head"
    LENGTH = "body by length"
    SIZE = "size of a chunk"
    CHUNK = "chunk"
    CHUNK_END = "end of a chunk"
    TRAILER = "trailer"
    UNTIL_CLOSE = "body up to the end of the connection"
    DONE = "done"


class ResponseParser:
    """Takes the bytes of one answer as they come.

    `head` is there once it is whole, `pieces` holds the body bytes that were not taken yet
    (`take`), `complete` tells the end. Bytes after the end are an error: nobody asked for them.
    `bodiless`: it answers HEAD, and ends with its head, whatever length that tells.
    """

    def __init__(self, *, bodiless: bool = False) -> None:
        self.head: Head | None = None
        self.pieces: list[bytes] = []
        self.buffered = 0
        self.complete = False
        self._bodiless = bodiless
        self._provisional = 0
        self._part = _Part.HEAD
        self._left = 0
        self._rest = b""

    def take(self) -> bytes:
        """Body bytes that have come and were not taken yet; b"" if there are none.

        A large piece comes alone, since joining would copy it once more.
        """
        pieces = self.pieces
        if not pieces:
            return b""
        if len(pieces) > 1 and len(pieces[0]) >= _LARGE:
            data = pieces.pop(0)
            self.buffered -= len(data)
            return data
        self.pieces, self.buffered = [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def eof(self) -> None:
        """The connection has ended. Raises unless the answer was complete, or ends with it."""
        if self._part is _Part.UNTIL_CLOSE:
            self._end()
        elif not self.complete:
            raise MalformedAnswer(f"the connection ended amid the {self._part.value}")

    def feed(self, data: bytes) -> None:
        """More bytes of the connection."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        position = 0
        end = len(data)
        while position < end:
            part = self._part
            if part is _Part.SIZE:
                found = self._find(data, b"\r\n", position, _MAX_LINE)
                if found < 0:
                    return
                line = data[position:found]
                position = found + 2
                self._left = _known_size(line) if len(line) <= _SHORT else _size(line)
                self._part = _Part.CHUNK if self._left else _Part.TRAILER
            elif part is _Part.CHUNK or part is _Part.LENGTH:
                size = min(self._left, end - position)
                self._piece(data, position, size)
                position += size
                self._left -= size
                if self._left:
                    return
                if part is _Part.LENGTH:
                    self._end()
                elif data.startswith(b"\r\n", position):
                    position += 2
                    self._part = _Part.SIZE
                else:
                    self._part = _Part.CHUNK_END
            elif part is _Part.HEAD:
                found = self._find(data, b"\r\n\r\n", position, _MAX_HEAD)
                if found < 0:
                    return
                self._parse_head(data[position:found])
                position = found + 4
            elif part is _Part.UNTIL_CLOSE:
                self._piece(data, position, end - position)
                return
            elif part is _Part.DONE:
                raise MalformedAnswer("more bytes than the answer has")
            else:
                found = self._find(data, b"\r\n", position, _MAX_LINE)
                if found < 0:
                    return
                size = found - position
                position = found + 2
                if part is _Part.CHUNK_END:
                    if size:
                        raise MalformedAnswer("a chunk is longer than its size")
                    self._part = _Part.SIZE
                elif size:
                    self._left += size
                    if self._left > _MAX_HEAD:
                        raise MalformedAnswer("the trailer is too long")
                else:
                    self._end()

    def _find(self, data: bytes, mark: bytes, position: int, limit: int) -> int:
        """Where `mark` is; below 0 where it has not come, and then the rest of `data` is kept."""
        found = data.find(mark, position)
        if (len(data) if found < 0 else found) - position > limit:
            raise MalformedAnswer(f"the {self._part.value} is too long")
        if found < 0:
            self._rest = data[position:]
        return found

    def _piece(self, data: bytes, position: int, size: int) -> None:
        self.pieces.append(data if size == len(data) else data[position : position + size])
        self.buffered += size

    def _end(self) -> None:
        self._part = _Part.DONE
        self.complete = True

    def _parse_head(self, block: bytes) -> None:
        first, *lines = block.split(b"\r\n")
        status, modern = _known_status(first) if len(first) <= _SHORT else _status(first)
        fields: dict[str, str] = {}
        for line in lines:
            name, value = _known_field(line) if len(line) <= _SHORT else _field(line)
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        if status < 200:
            if status == 101:
                raise MalformedAnswer("the server switched protocols, which nobody asked for")
            self._provisional += 1
            if self._provisional > _MAX_PROVISIONAL:
                raise MalformedAnswer("too many provisional answers")
            return  # 100 Continue and its like say nothing
        self._body_of(status, fields, modern)

    def _body_of(self, status: int, fields: dict[str, str], modern: bool) -> None:
        coding = fields.get("transfer-encoding")
        told = fields.get("content-length")
        length: int | None = None
        if coding is not None:
            if coding.lower() != "chunked":
                raise MalformedAnswer(f"a body in the coding {coding[:40]!r} can't be read")
            self._part = _Part.SIZE
        elif told is not None:
            if not told.isascii() or not told.isdigit() or len(told) > 18:
                raise MalformedAnswer(f"{told[:40]!r} is no length of a body")
            length = int(told)
        else:
            self._part = _Part.UNTIL_CLOSE
        if self._bodiless or status in (204, 304):
            length, self._part = 0, _Part.HEAD
        connection = fields.get("connection", "").lower()
        keep = "close" not in connection if modern else "keep-alive" in connection
        if self._part is _Part.UNTIL_CLOSE or (coding is not None and (told or not modern)):
            # A sender of two lengths, or of chunks before HTTP/1.1, may see its end elsewhere.
            keep = False
        self.head = Head(status, Fields(fields), keep, length)
        if self._part is _Part.HEAD:
            self._left = length or 0
            self._part = _Part.LENGTH
            if not self._left:
                self._end()


def _status(line: bytes) -> tuple[int, bool]:
    """The status of an answer, and whether it speaks HTTP/1.1."""
    match = _STATUS.fullmatch(line)
    if match is None:
        raise MalformedAnswer(f"{line[:40]!r} is no status line of HTTP/1.1")
    return int(match[2]), match[1] == b"1"


def _field(line: bytes) -> tuple[str, str]:
    """The name of a header field, in lower case, and its value."""
    match = _FIELD.fullmatch(line)
    if match is None:
        raise MalformedAnswer(f"{line[:40]!r} is no header field")
    value = match[2].strip(b" \t").decode("utf-8", "surrogateescape")
    return match[1].decode("ascii").lower(), value


def _size(line: bytes) -> int:
    """The size of a chunk."""
    match = _SIZE.fullmatch(line)
    if match is None:
        raise MalformedAnswer(f"{line[:40]!r} is no size of a chunk")
    return int(match[1], 16)


_known_status = functools.lru_cache(maxsize=64)(_status)
_known_field = functools.lru_cache(maxsize=256)(_field)
_known_size = functools.lru_cache(maxsize=256)(_size)
