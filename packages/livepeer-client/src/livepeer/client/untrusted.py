"""What others send, made harmless: JSON within bounds, and our own secrets taken out of what comes
back. `ValueError` is all that anything here raises."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from livepeer.trickle.text import printable

ELEMENTS: Final = 4_000_000
"""Objects, arrays and members in one answer. 2 MB of `[[],[],...]` are 100 MB in Python, so
bytes alone bound nothing; a picture of 1920 x 1080 numbers still fits."""
LARGE: Final = 1 << 18
"""Bytes that are read beside the loop, by whoever has one."""
TEXT: Final = 2_000
"""Letters of another's text in one message of ours."""

_OPEN: Final = frozenset({"content-type", "accept-encoding", "livepeer-capability"})
"""Headers that are no secret, whoever repeats them."""
_SECRET_LENGTH: Final = 8
"""Shorter values would be found in any text by chance."""


def loads(data: bytes | str) -> Any:
    """`data` as JSON. Raises `ValueError` for what is none, or is too deep or too many things."""
    if len(data) > ELEMENTS:
        marks: tuple[Any, ...] = (",", "[", "{") if isinstance(data, str) else (b",", b"[", b"{")
        if sum(data.count(mark) for mark in marks) > ELEMENTS:
            raise ValueError(f"more than {ELEMENTS:,} elements")
    try:
        if len(data) <= LARGE:
            return json.loads(data)
        # The parser is C that holds the GIL to its end, so a thread alone spares a loop nothing:
        # these let it go now and then, and cost a few percent.
        return json.loads(data, parse_float=_float, parse_int=_int, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _float(text: str) -> float:
    return float(text)


def _int(text: str) -> int:
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs)


def secrets_in(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What of these headers of ours nobody may read in an error or a log."""
    found: set[str] = set()
    for name, value in headers.items():
        if name.lower() in _OPEN:
            continue
        found.add(value)
        found.update(value.split())  # `Bearer X`: the X
        found.update(_signatures(value))
    return tuple(sorted((each for each in found if len(each) >= _SECRET_LENGTH), key=len))[::-1]


def _signatures(value: str) -> Iterable[str]:
    """The signature inside of go-livepeer's headers, which are base64 of a JSON object."""
    try:
        fields = json.loads(base64.b64decode(value, validate=True))
    except (ValueError, RecursionError):
        return ()
    return (
        [fields["sig"]] if isinstance(fields, dict) and isinstance(fields.get("sig"), str) else ()
    )


def redacted(text: str, secrets: Iterable[str]) -> str:
    """`text` without our secrets, also where JSON escaped their slashes."""
    for secret in secrets:
        text = text.replace(secret, "[redacted]").replace(secret.replace("/", "\\/"), "[redacted]")
    return text


def shown_url(text: str) -> str:
    """A URL for an error: without what stands before an `@` or behind a `?`, which may be secret.

    Also of what is no URL at all, since that is when people see it.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "", text
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    rest, query, _ = rest.partition("?")
    return printable(f"{scheme}{mark}{rest}" + ("?***" if query else ""), 200)
