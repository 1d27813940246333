"""What a check of source found. No I/O."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

FindingLevel = Literal["error", "warning", "note"]
"""error: it is refused, or fails when it is used; warning: it works otherwise than it reads; note:
a thing that could not be judged."""
LEVELS: tuple[FindingLevel, ...] = ("error", "warning", "note")
MOST = 200
"""Findings of one check that are kept."""


@dataclass(frozen=True, slots=True)
class SourceFinding:
    """One mistake: where it stands, what is wrong (`message`), and what to write (`fix`).

    `code` is stable; `livepeer explain CODE` says more. `line` and `column` count from 1; both are
    0 where a whole file is meant.
    """

    code: str
    level: FindingLevel
    file: Path
    line: int
    column: int
    message: str
    fix: str

    @property
    def place(self) -> str:
        """`pipeline.py:12:5`, relative to the present folder where it is inside."""
        name = shown(self.file)
        return f"{name}:{self.line}:{self.column}" if self.line else name

    def as_json(self) -> dict[str, Any]:
        """A finding in the document of `specs/schemas/check.json`."""
        return {
            "code": self.code,
            "level": self.level,
            "file": shown(self.file),
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "fix": self.fix,
        }


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a check found, errors first, then by place.

    `imported`: the pipeline was imported too, so that its types are judged; else only its text is.
    """

    target: str
    found: tuple[SourceFinding, ...]
    imported: bool = False
    seconds: float = 0.0

    @classmethod
    def of(
        cls, target: str, found: Iterator[SourceFinding] | list[SourceFinding], **known: Any
    ) -> Findings:
        """Sorted, without what is there twice, and at most `MOST`."""
        unique = dict.fromkeys(found)
        ordered = sorted(
            unique, key=lambda one: (LEVELS.index(one.level), str(one.file), one.line, one.column)
        )
        return replace(cls(target, tuple(ordered[:MOST])), **known)

    @property
    def errors(self) -> tuple[SourceFinding, ...]:
        return self.at("error")

    @property
    def warnings(self) -> tuple[SourceFinding, ...]:
        return self.at("warning")

    def at(self, level: FindingLevel) -> tuple[SourceFinding, ...]:
        """Those of one level."""
        return tuple(one for one in self.found if one.level == level)

    @property
    def ok(self) -> bool:
        """No error and no warning."""
        return not self.errors and not self.warnings

    def as_json(self) -> dict[str, Any]:
        """The document of `specs/schemas/check.json`."""
        return {
            "protocol": "v1",
            "target": self.target,
            "imported": self.imported,
            "summary": {f"{level}s": len(self.at(level)) for level in LEVELS},
            "findings": [one.as_json() for one in self.found],
            "seconds": round(self.seconds, 3),
        }


def shown(file: Path) -> str:
    """A file as a command names it: relative where it is below the present folder."""
    here = os.getcwd()
    path = os.path.abspath(file)
    return os.path.relpath(path, here) if path.startswith(f"{here}{os.sep}") else path
