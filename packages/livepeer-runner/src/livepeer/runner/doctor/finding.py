"""What a check found, or why it found nothing. No I/O."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: what was `seen`, and the `fix`."""

    seen: str
    fix: str


class NotJudged(Exception):
    """This target gives nothing to judge by; the message says why, and what would."""


class SubjectLost(Exception):
    """The target did not answer; the message says to what, and how."""
