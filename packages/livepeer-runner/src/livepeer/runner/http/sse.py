"""Server-sent events that survive a go-livepeer orchestrator and gateway.

Facts (go-livepeer, recorded transcripts `sse.json`), and what follows from them:

- The orchestrator reads line by line, 65,535 bytes at most; one longer line ends the stream
  silently. So data is folded over several `data:` lines. A reader joins those with a line feed
  (the SSE standard). Our payloads are compact JSON, which holds no line feed of its own, so **a
  reader gets the exact payload back by dropping every line feed from the data**. Folds are put
  between JSON tokens where they can be, where a reader that does not know the rule needs none;
  only a text that fills a line by itself is folded inside.
- It inserts a balance event before each line with the text `[DONE]`, and a gateway cuts there. So
  the text is `\\u005bDONE]` inside payloads, and the end is a bare `data: [DONE]` event.
- It ignores the status of a stream. So an error after the first byte is an `error` event.
- It passes comments on, which are the heartbeats: they keep proxies from closing a quiet stream.
"""

from __future__ import annotations

import json
import re

from livepeer.runner.errors import JobError, error_body

MEDIA_TYPE = "text/event-stream"
LINE_LIMIT = 65_535
DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": heartbeat\n\n"

_PREFIX = b"data: "
_ROOM = LINE_LIMIT - len(_PREFIX)
_MARK = b"[DONE]"
_SAFE_MARK = b"\\u005bDONE]"
# A string literal, or what stands between two of them up to a comma.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[^",]+,?|,', re.DOTALL)


def data_event(payload: bytes) -> bytes:
    """One event whose data is `payload`, compact JSON in UTF-8."""
    if _MARK in payload:
        payload = payload.replace(_MARK, _SAFE_MARK)
    if len(payload) <= _ROOM:
        return b"data: %b\n\n" % payload
    return b"".join(b"data: %b\n" % line for line in fold(payload)) + b"\n"


def named_event(name: str, payload: bytes) -> bytes:
    return b"event: %b\n%b" % (name.encode(), data_event(payload))


def error_event(error: JobError) -> bytes:
    """`event: error` with the same JSON that an error response would have."""
    return named_event("error", error_body(error))


def progress_event(fraction: float, message: str) -> bytes:
    content = {"progress": fraction, "message": message}
    return named_event("progress", json.dumps(content, separators=(",", ":")).encode())


def fold(payload: bytes, room: int = _ROOM) -> list[bytes]:
    """`payload` in pieces of at most `room` bytes, cut between JSON tokens where possible."""
    lines: list[bytes] = []
    line = bytearray()
    for match in _TOKEN.finditer(payload):
        token = match.group()
        if len(line) + len(token) > room and line:
            lines.append(bytes(line))
            line.clear()
        while len(token) > room:
            cut = _character_border(token, room)
            lines.append(token[:cut])
            token = token[cut:]
        line += token
    if line:
        lines.append(bytes(line))
    return lines


def _character_border(text: bytes, at: int) -> int:
    """The last place up to `at` that does not split a character: readers decode line by line."""
    while at > 1 and text[at] & 0xC0 == 0x80:
        at -= 1
    return at
