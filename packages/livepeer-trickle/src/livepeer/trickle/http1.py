"""Answers of HTTP/1.1, from bytes: no I/O.

As much of HTTP as a client of trickle meets: provisional answers, bodies by length, in chunks, or
up to the end of the connection. It is strict where a lenient reading could lose or mix bytes.
"""

import functools
import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = ["Head", "MalformedAnswer", "ResponseParser"]

_MAX_HEAD: Final = 64 * 1024
_MAX_LINE: Final = 4096
_LARGE: Final = 32 * 1024
"""Bytes of a piece that are handed out without being joined with others."""
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\r\n\0]*)?")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n\0]*)?")
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class MalformedAnswer(ValueError):
    """What came is not HTTP/1.1."""


class Fields(dict[str, str]):
    """Header fields by name, whatever its case."""

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return super().get(name.lower(), default)


@functools.lru_cache(maxsize=256)
def _key(name: bytes) -> str | None:
    """The name of a field as it is looked up, None where it is none."""
    return name.decode("ascii").lower() if _TOKEN.fullmatch(name) else None


@dataclass(frozen=True, slots=True)
class Head:
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
    """

    def __init__(self) -> None:
        self.head: Head | None = None
        self.pieces: list[bytes] = []
        self.buffered = 0
        self.complete = False
        self._part = _Part.HEAD
        self._left = 0
        self._rest = b""

    def take(self) -> bytes:
        """Body bytes that have come and were not taken yet; b"" where there are none.

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
            if part is _Part.CHUNK or part is _Part.LENGTH:
                size = min(self._left, end - position)
                self._piece(data, position, size)
                position += size
                self._left -= size
                if not self._left:
                    if part is _Part.LENGTH:
                        self._end()
                    else:
                        self._part = _Part.CHUNK_END
            elif part is _Part.UNTIL_CLOSE:
                self._piece(data, position, end - position)
                return
            elif part is _Part.DONE:
                raise MalformedAnswer("more bytes than the answer has")
            else:
                mark, limit = (
                    (b"\r\n\r\n", _MAX_HEAD) if part is _Part.HEAD else (b"\r\n", _MAX_LINE)
                )
                found = data.find(mark, position)
                if (end if found < 0 else found) - position > limit:
                    raise MalformedAnswer(f"the {part.value} is too long")
                if found < 0:
                    self._rest = data[position:]
                    return
                line = data[position:found]
                position = found + len(mark)
                if part is _Part.HEAD:
                    self._parse_head(line)
                elif part is _Part.SIZE:
                    self._parse_size(line)
                elif part is _Part.CHUNK_END:
                    if line:
                        raise MalformedAnswer("a chunk is longer than its size")
                    self._part = _Part.SIZE
                elif line:
                    self._trailer(line)
                else:
                    self._end()

    def _trailer(self, line: bytes) -> None:
        self._left += len(line)
        if self._left > _MAX_HEAD:
            raise MalformedAnswer("the trailer is too long")

    def _piece(self, data: bytes, position: int, size: int) -> None:
        self.pieces.append(data if size == len(data) else data[position : position + size])
        self.buffered += size

    def _end(self) -> None:
        self._part = _Part.DONE
        self.complete = True

    def _parse_size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise MalformedAnswer(f"{line[:40]!r} is no size of a chunk")
        self._left = int(match[1], 16)
        self._part = _Part.CHUNK if self._left else _Part.TRAILER

    def _parse_head(self, block: bytes) -> None:
        first, *lines = block.split(b"\r\n")
        if b"\0" in block or not len(lines) == block.count(b"\n") == block.count(b"\r"):
            raise MalformedAnswer("a header field has a line break or a NUL in it")
        match = _STATUS.fullmatch(first)
        if match is None:
            raise MalformedAnswer(f"{first[:40]!r} is no status line of HTTP/1.1")
        status = int(match[2])
        fields = Fields()
        for line in lines:
            name, colon, value = line.partition(b":")
            key = _key(name) if colon else None
            if key is None:
                raise MalformedAnswer(f"{line[:40]!r} is no header field")
            text = value.strip(b" \t").decode("utf-8", "surrogateescape")
            known = dict.get(fields, key)
            fields[key] = text if known is None else f"{known}, {text}"
        if status < 200:
            if status == 101:
                raise MalformedAnswer("the server switched protocols, which nobody asked for")
            return  # 100 Continue and its like say nothing
        self._body_of(status, fields, match[1] == b"1")

    def _body_of(self, status: int, fields: Fields, modern: bool) -> None:
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
        elif status not in (204, 304):
            self._part = _Part.UNTIL_CLOSE
        if status in (204, 304):
            length, self._part = 0, _Part.HEAD
        connection = (fields.get("connection") or "").lower()
        keep = "close" not in connection if modern else "keep-alive" in connection
        if self._part is _Part.UNTIL_CLOSE or (coding is not None and (told or not modern)):
            # Whoever sent two lengths, or chunks before HTTP/1.1, may see its end elsewhere.
            keep = False
        self.head = Head(status, fields, keep, length)
        if self._part is _Part.HEAD:
            self._left = length or 0
            self._part = _Part.LENGTH
            if not self._left:
                self._end()
