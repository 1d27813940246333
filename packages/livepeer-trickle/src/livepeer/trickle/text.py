"""Text that strangers wrote, as a terminal or a log may have it."""

from __future__ import annotations

import re

CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What a terminal obeys, turns the direction of writing, or no text has. Not line feed and tab."""

_BREAKS = frozenset("\t\n\r\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029")
"""White space that moves the cursor; any other is a blank."""


def printable(text: str, limit: int | None = None, *, lines: bool = False) -> str:
    """`text`, cut after `limit` characters, with what does not print escaped (`\\x1b`).

    One line; with `lines` several: line feeds, tabs and the invisible joiners of scripts and emoji
    stay as they are.
    """
    if limit is not None and len(text) > limit:
        text = text[:limit] + "…"
    if text.isprintable():
        return text
    if lines:
        return CONTROL.sub(lambda found: _escaped(found[0]), text)
    return "".join(each if each.isprintable() else _shown(each) for each in text)


def _shown(letter: str) -> str:
    return " " if letter.isspace() and letter not in _BREAKS else _escaped(letter)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
