"""Every string of the trickle protocol, to write and to read, for client and server alike.

No I/O happens here and nothing but the standard library is imported. The source of each fact is
go-livepeer's `trickle` package (seen on a running server, see `specs/trickle.md`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from livepeer.trickle.exceptions import public_url

# --- headers -------------------------------------------------------------------------------------

SEQ: Final = "Lp-Trickle-Seq"
"""On answers: the real number of the segment."""
LATEST: Final = "Lp-Trickle-Latest"
"""On answers: the next write number when the request came; absent if it equals the segment's."""
CLOSED: Final = "Lp-Trickle-Closed"
"""On answers: the channel has ended. Any value counts; the server writes `TERMINATED`."""
RESET: Final = "Lp-Trickle-Reset"
"""On a segment POST: close open segments before this one. Any value but an empty one counts."""
EXPECT_CONTENT: Final = "Expect-Content"
"""On a channel POST: the MIME type that readers of the channel will see."""
CONTENT_TYPE: Final = "Content-Type"
TERMINATED: Final = "terminated"

# --- numbers -------------------------------------------------------------------------------------

NEXT_WRITE: Final = -1
"""In place of a number: the segment that will be written next."""
CURRENT_WRITE: Final = -2
"""In place of a number, on GET: the segment that was begun last."""
NEXT: Final = "next"
"""In place of a number, on GET: answer the next write number as text."""
RING: Final = 5
"""Slots of a channel; segment `seq` lives in slot `seq % 5`. A pending next write takes one."""
MAX_SEQ: Final = 2**63 - 1

DEFAULT_IDLE_TIMEOUT: Final = 300.0
"""Seconds without news after which a channel is swept."""
DEFAULT_SWEEP_INTERVAL: Final = 60.0
PROVISIONAL_INTERVAL: Final = 10.0
"""Seconds between the `100 Continue` answers to a POST whose body has not begun."""

# --- content -------------------------------------------------------------------------------------

DEFAULT_MIME_TYPE: Final = "video/MP2T"
JSON_MIME_TYPE: Final = "application/json"
JSONL_MIME_TYPE: Final = "application/jsonl"
MAX_RECORD: Final = 64 * 1024 - 1
"""Longest record, in bytes with its line feed: go-livepeer's line readers stop at 64 KiB."""

CHANGES_CHANNEL: Final = "_changes"
"""The change feed, a channel itself. Names that begin with an underscore are never swept."""

# --- statuses and their texts --------------------------------------------------------------------

STATUS_RESYNC: Final = 470
"""The channel lives, but its ring does not have this segment; `LATEST` is the next write number."""
TEXT_NO_SEGMENT: Final = "Entry not found"
"""Body of a 470 (no line feed)."""
TEXT_NO_CHANNEL: Final = "Stream not found\n"
"""Body of a 404 for a missing channel."""
TEXT_BAD_SEQUENCE: Final = "Invalid idx\n"
"""Body of a 400 for a path part that is not a number."""
TEXT_MISSING_SEGMENT: Final = "Nonexistent segment\n"
"""Body of a 400 for deleting a segment that is not there."""
TEXT_BAD_CHANNEL: Final = "Invalid stream\n"
"""Body of a 400 for deleting a missing channel."""
TEXT_NOT_FOUND: Final = "404 page not found\n"
"""Body of a 404 for a path that names no channel."""
TEXT_SERVER_ERROR: Final = "Server error\n"
"""Body of a 500: the publisher's body broke."""


class Answer(Enum):
    """What an answer means, for any request. The last two never come from the server."""

    __hash__ = object.__hash__  # by identity, as they compare: tables are asked often

    OK = "ok"
    TERMINATED = "terminated"
    NOT_FOUND = "not found"
    RESYNC = "resync"
    REFUSED = "refused"
    REJECTED = "rejected"
    SERVER_ERROR = "server error"
    LOST = "connection lost"
    SILENT = "no news within the limit"


def classify(status: int, *, closed: bool = False) -> Answer:
    """Give an answer its meaning.

    `Lp-Trickle-Closed` wins over the status, as it does in go-livepeer's clients.
    """
    if closed:
        return Answer.TERMINATED
    if 200 <= status < 300:
        return Answer.OK
    if status == STATUS_RESYNC:
        return Answer.RESYNC
    if status in (404, 410):
        return Answer.NOT_FOUND
    if status in (401, 403, 407):
        return Answer.REFUSED
    if status >= 500 or status in (408, 425, 429):
        return Answer.SERVER_ERROR
    return Answer.REJECTED


_NUMBER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)


def parse_sequence(text: str | None) -> int | None:
    """Read a number as the server does (Go's `strconv.Atoi`); None if it is none.

    `+1`, `01` and `-0` are numbers; `1.0`, `1_0`, ` 1`, `-` and what does not fit into 64 bits
    are not. Percent escapes have to be decoded before (`%31` is 1).
    """
    # 20 digits can't be in range unless they are leading zeros; int() would take megabytes of them.
    if text is None or len(text) > 4096 or not _NUMBER.fullmatch(text):
        return None
    value = int(text)
    return value if -MAX_SEQ - 1 <= value <= MAX_SEQ else None


@dataclass(frozen=True, slots=True)
class Headers:
    """The `Lp-Trickle-*` headers of an answer."""

    seq: int | None = None
    latest: int | None = None
    closed: bool = False

    @classmethod
    def parse(cls, headers: Mapping[str, str]) -> Headers:
        """Read them; a value that is no number counts as absent. `headers` is case-insensitive."""
        get = headers.get
        return cls(parse_sequence(get(SEQ)), parse_sequence(get(LATEST)), bool(get(CLOSED)))

    def format(self) -> dict[str, str]:
        """Write them, for an answer."""
        fields: dict[str, str] = {}
        if self.seq is not None:
            fields[SEQ] = str(self.seq)
        if self.latest is not None and (self.latest != self.seq or self.closed):
            fields[LATEST] = str(self.latest)
        if self.closed:
            fields[CLOSED] = TERMINATED
        return fields


# --- URLs ----------------------------------------------------------------------------------------


def channel_url(base: str, name: str) -> str:
    """The URL of the channel `name` below `base`; the name is escaped, `/` in it as well."""
    if not name or name in (".", ".."):
        raise ValueError(f"{name!r} can't be the name of a channel")
    return f"{base.rstrip('/')}/{quote(name, safe='')}"


def segment_url(channel: str, seq: int) -> str:
    """The URL of one segment of the channel at the URL `channel` (a query stays at the end)."""
    return _below(channel, str(seq))


def next_url(channel: str) -> str:
    """The URL that tells the next write number."""
    return _below(channel, NEXT)


def _below(channel: str, last: str) -> str:
    path, mark, query = channel.partition("?")
    return f"{path.rstrip('/')}/{last}{mark}{query}"


def check_channel_url(url: str) -> str:
    """Return `url` without a trailing slash, or raise `ValueError` with the reason."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"a channel URL begins with http:// or https://, not {public_url(url)!r}")
    if not parts.hostname:
        raise ValueError(f"the channel URL {public_url(url)!r} names no host")
    if not parts.path.strip("/"):
        raise ValueError(
            f"the channel URL {public_url(url)!r} names no channel: http://host/path/CHANNEL"
        )
    path, mark, query = url.partition("#")[0].partition("?")
    return f"{path.rstrip('/')}{mark}{query}"


@dataclass(frozen=True, slots=True)
class Target:
    """What a request path names: a channel, and the text in the place of the segment, if any."""

    channel: str
    segment: str | None = None

    @property
    def is_next(self) -> bool:
        """Whether it asks for the next write number. Only the lower-case word does."""
        return self.segment == NEXT

    @property
    def seq(self) -> int | None:
        """The number of the segment; None if the text is no number."""
        return parse_sequence(self.segment)


def parse_path(raw_path: str, base_path: str = "/") -> Target | None:
    """Read the path of a request (percent escapes in place, no query); None if it names no channel.

    One segment below the base path is a channel, two are a channel and a number. `%2F` is a letter
    of a name. An empty part (a trailing or double slash) names nothing.
    """
    base = base_path if base_path.endswith("/") else base_path + "/"
    if not raw_path.startswith(base):
        return None
    parts = raw_path[len(base) :].split("/")
    if len(parts) > 2 or not all(parts) or any(part in (".", "..") for part in parts):
        return None
    return Target(*(unquote(part) for part in parts))


# --- the change feed -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Changes:
    """One entry of the change feed. The server writes one channel into each."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def format(self) -> bytes:
        """Write it: compact JSON, an empty list left out."""
        entry = {"added": list(self.added), "removed": list(self.removed)}
        return json.dumps(
            {key: names for key, names in entry.items() if names},
            separators=(",", ":"),
            ensure_ascii=False,
        ).encode()

    @classmethod
    def parse(cls, data: bytes) -> Changes:
        """Read it. Raises `ValueError` if it is none."""
        try:
            entry = json.loads(data)
        except RecursionError:
            raise ValueError("a change feed entry that is nested too deeply") from None
        if not isinstance(entry, dict):
            raise ValueError(f"a change feed entry is a JSON object, not {type(entry).__name__}")
        names: list[tuple[str, ...]] = []
        for key in ("added", "removed"):
            value = entry.get(key) or []
            if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                raise ValueError(f"{key!r} of a change feed entry is a list of names")
            names.append(tuple(value))
        return cls(*names)
