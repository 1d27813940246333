"""Server-sent events from bytes: the HTML standard, and what go-livepeer does to a stream. No I/O.

Before *each* line with the text `[DONE]` an orchestrator puts `data: {"balance": 0.000}` and two
empty lines, wherever that line stands; `EventParser` takes exactly those three lines out again, so
that what the pipeline sent is what comes out. After the end of the pipeline's stream the
orchestrator writes empty lines without a pause until `timeout_seconds` are over: `[DONE]` is the
end, at once, and where it is missing `flooded` tells.
"""

from __future__ import annotations

import re
from typing import Final

from livepeer.client.exceptions import ProtocolError
from livepeer.client.types import StreamEvent

_BALANCE: Final = re.compile(rb'data: \{"balance": (-?\d+\.\d{3})\}')
"""go-livepeer formats with three decimals; a pipeline's own balance events look different or are
not followed by `[DONE]`."""
_DONE: Final = b"[DONE]"
_DONE_LINES: Final = frozenset({b"data: [DONE]", b"data:[DONE]", b"[DONE]"})
_BOM: Final = b"\xef\xbb\xbf"
_ENDS: Final = b"\r\n"

FLOOD: Final = 1 << 16
"""Empty bytes in a row that no pipeline sends: the stream has ended without `[DONE]`."""
EVENT_LIMIT: Final = 1 << 26
"""What an event may hold: bytes, and lines of `data:`. Ours are folded at 65,535 bytes a line."""
LINES_LIMIT: Final = 1 << 16
_RETRY_DIGITS: Final = 12
"""Digits of `retry`, in milliseconds, that mean something."""


class EventParser:
    """Feed bytes, get events. After `[DONE]` (`done`) everything is ignored.

    `limit`: the bytes of one event.
    """

    def __init__(self, *, limit: int | None = None) -> None:
        self._limit = EVENT_LIMIT if limit is None else limit
        self.done = False
        self.balance: str | None = None
        self.commented = False
        """A comment came, as a job that runs sends them: heartbeats."""
        self._parts: list[bytes] = []
        self._size = 0
        self._first = True
        self._skip_lf = False
        self._blank = 0
        self._held: list[bytes] = []
        self._data: list[str] = []
        self._type = ""
        self._id = ""
        self._retry: int | None = None
        self._events: list[StreamEvent] = []

    @property
    def flooded(self) -> bool:
        """Only empty lines have come for so long that nothing else will."""
        return self._blank >= FLOOD

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """The events that `chunk` completes."""
        if self._skip_lf and chunk:
            self._skip_lf = False
            if chunk[0] == 0x0A:
                chunk = chunk[1:]
        if not chunk or self.done:
            return []
        if not self._parts and not chunk.strip(_ENDS):
            # Megabytes of this come per second: three are as good as all of them.
            self._blank += len(chunk)
            self._skip_lf = chunk[-1] == 0x0D
            return self._lines([b""] * min(3, len(chunk.splitlines())))
        self._blank = len(chunk) - len(chunk.rstrip(_ENDS))
        if self._parts:
            ended = b"\n" in chunk or b"\r" in chunk
            self._parts.append(chunk)
            if not ended:
                self._grow(len(chunk))
                return []
            chunk = b"".join(self._parts)
            self._parts.clear()
        lines = chunk.splitlines()
        last = chunk[-1]
        if last == 0x0D:
            self._skip_lf = True
        elif last != 0x0A:
            rest = lines.pop()
            self._parts.append(rest)
            self._size = len(rest)
        return self._lines(lines)

    def end(self) -> list[StreamEvent]:
        """The bytes have ended: a last line without its end still counts as `[DONE]`."""
        rest = b"".join(self._parts)
        self._parts.clear()
        lines = [rest] if rest.removeprefix(_BOM) in _DONE_LINES else []
        if self._held and not lines:
            lines = self._held
            self._held = []
            for line in lines:
                self._line(line)
            lines = []
        return self._lines(lines)

    def _lines(self, lines: list[bytes]) -> list[StreamEvent]:
        if self._first and lines:
            self._first = False
            lines[0] = lines[0].removeprefix(_BOM)
        for line in lines:
            if self._held:
                if not line and len(self._held) < 3:
                    self._held.append(line)
                    continue
                held, self._held = self._held, []
                if len(held) == 3 and _DONE in line:
                    match = _BALANCE.fullmatch(held[0])
                    self.balance = match[1].decode() if match else None
                else:
                    for each in held:
                        self._line(each)
            if line.startswith(b'data: {"bal') and _BALANCE.fullmatch(line):
                self._held = [line]
                continue
            self._line(line)
            if self.done:
                break
        events, self._events = self._events, []
        return events

    def _line(self, line: bytes) -> None:
        if not line:
            if self._data:
                data = self._data[0] if len(self._data) == 1 else "\n".join(self._data)
                self._events.append(
                    StreamEvent(data, self._type or "message", self._id, self._retry)
                )
                self._data = []
                self._size = 0
            self._type = ""
            self._retry = None
            return
        if line in _DONE_LINES and not self._data:
            self.done = True
            return
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._grow(len(value))
            if len(self._data) == LINES_LIMIT:
                raise ProtocolError(f"an event of the stream is over {LINES_LIMIT:,} lines")
            self._data.append(value.decode("utf-8", "replace"))
        elif name == b"event":
            self._type = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS:
            self._retry = int(value)
        elif not name:
            self.commented = True

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            raise ProtocolError(f"an event of the stream is over {self._limit:,} bytes")
