"""JSON records as bytes, and bytes as records: no I/O.

A record is one JSON object. Channels carry it in two forms, and readers take both: one record for
each line of a segment (JSONL), or one for each whole segment (events).
"""

from __future__ import annotations

import json
from typing import Any, Final

from livepeer.trickle.exceptions import RecordTooLarge
from livepeer.trickle.protocol import wire

Record = dict[str, Any]

_MAX_LINE: Final = 1024 * 1024
"""Longest line that a reader keeps; more is no record but garbage, or an attack."""

_dump = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def encode(record: Record) -> bytes:
    """One line of UTF-8 JSON with its line feed.

    Raises `TypeError` if it is not a dict, or holds a value without a form in JSON; `ValueError` if
    it holds NaN or an infinity; `RecordTooLarge` if it is longer than the 64 KiB that go-livepeer's
    line readers take.
    """
    if not isinstance(record, dict):
        raise TypeError(f"a record is a dict, not {type(record).__name__}")
    try:
        line = _dump(record).encode() + b"\n"
    except UnicodeEncodeError as error:
        raise ValueError(f"a record is Unicode text: {error}") from error
    if len(line) > wire.MAX_RECORD:
        raise RecordTooLarge(
            f"a record of {len(line):,} bytes is over the limit of {wire.MAX_RECORD:,}; "
            "send large data in a media channel, or in several records"
        )
    return line


def is_keepalive(record: Record) -> bool:
    """Whether it is `{"keep": "alive"}`, which go-livepeer writes so that a channel is not idle."""
    return len(record) == 1 and record.get("keep") == "alive"


class RecordReader:
    """Takes the bytes of one segment as they come and gives the records that are complete.

    `bad` counts the lines that are no JSON object; they are passed over. A segment none of whose
    lines is a record may be one record printed over several lines: that is tried at its end.
    """

    def __init__(self) -> None:
        self.bad = 0
        self._rest = b""
        self._odd: list[bytes] | None = []
        self._odd_size = 0
        self._skipping = False

    def feed(self, data: bytes) -> list[Record]:
        """The records that `data` completes."""
        head, feed, rest = data.rpartition(b"\n")
        if not feed:
            self._keep(data)
            return []
        lines = (self._rest + head).split(b"\n")
        self._rest = b""
        if self._skipping:
            self._skipping = False
            del lines[0]
        records = self._parse(lines)
        self._keep(rest)
        return records

    def end(self) -> list[Record]:
        """The records that are left when the segment has ended."""
        rest, self._rest = self._rest, b""
        records = self._parse([rest]) if rest and not self._skipping else []
        odd = b"\n".join(self._odd or ())
        if odd:
            whole = _load(odd)
            if whole is None:
                self.bad += len(self._odd or ())
            else:
                records.append(whole)
        self._odd, self._odd_size, self._skipping = [], 0, False
        return records

    def _keep(self, rest: bytes) -> None:
        if self._skipping:
            return
        self._rest += rest
        if len(self._rest) > _MAX_LINE:
            self._rest, self._skipping = b"", True
            self._give_up_odd()
            self.bad += 1

    def _parse(self, lines: list[bytes]) -> list[Record]:
        records: list[Record] = []
        for line in lines:
            if not line or line.isspace():
                continue
            record = _load(line)
            if record is not None:
                records.append(record)
                self._give_up_odd()
            elif self._odd is None:
                self.bad += 1
            else:
                self._odd.append(line)
                self._odd_size += len(line) + 1
                if self._odd_size > wire.MAX_RECORD:
                    self._give_up_odd()
        return records

    def _give_up_odd(self) -> None:
        """The segment is in lines: those that were no record are bad ones."""
        if self._odd is not None:
            self.bad += len(self._odd)
            self._odd = None


def _load(data: bytes) -> Record | None:
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
