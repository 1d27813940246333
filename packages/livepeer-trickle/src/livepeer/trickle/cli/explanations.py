"""What every error code means: a catalogue for each distribution, as data.

A distribution brings its own by one entry point in the group `livepeer.explanations`, whose value
is the package that holds `explanations.toml`. In that file each code is a table: `title`, `cause`,
`fix`, and an `example` where one helps.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files

ENTRY_POINTS = "livepeer.explanations"
FILE = "explanations.toml"

PAGES = "https://github.com/livepeer/livepeer-python/blob/main/docs/errors/"

_CODE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_ALIKE = 0.6


@dataclass(frozen=True, slots=True)
class Explanation:
    """One error code: what it says, why it comes, what to do about it."""

    code: str
    title: str
    cause: str
    fix: str
    example: str = ""
    home: str = ""
    """The distribution whose code it is."""

    @property
    def page(self) -> str:
        """Where the same stands on the web."""
        return f"{PAGES}{self.code}.md"

    def as_document(self) -> dict[str, str]:
        """For a program."""
        return {**dataclasses.asdict(self), "page": self.page}

    def as_text(self) -> str:
        """For a terminal."""
        parts = [f"{self.code}: {self.title}", f"Cause: {self.cause}", f"Fix: {self.fix}"]
        if self.example:
            parts.append("\n".join(f"    {line}".rstrip() for line in self.example.splitlines()))
        parts.append(f"More: {self.page}")
        return "\n\n".join(parts)

    def as_markdown(self) -> str:
        """A page of the documentation."""
        language = (
            "python"
            if re.search(r"^(class|def|async|from|import|try)\b", self.example, re.M)
            else ""
        )
        parts = [
            f"# {self.code}",
            f"{self.title}. From `{self.home}`.",
            f"## Cause\n\n{self.cause}",
        ]
        parts.append(f"## Fix\n\n{self.fix}")
        if self.example:
            parts.append(f"```{language}\n{self.example}\n```")
        return "\n\n".join(parts) + "\n"


@functools.cache
def catalogue() -> dict[str, Explanation]:
    """Every code of the installed distributions. Raises `ValueError` for a file that is wrong."""
    found: dict[str, Explanation] = {}
    points = metadata.entry_points(group=ENTRY_POINTS)
    for point in sorted(points, key=lambda each: each.name):
        home = point.dist.name if point.dist is not None else point.name
        text = files(point.value).joinpath(FILE).read_text(encoding="utf-8")
        for one in read(text, home):
            if one.code in found:
                raise ValueError(f"{one.code} is a code of {found[one.code].home} and of {home}")
            found[one.code] = one
    return found


def read(text: str, home: str) -> Iterator[Explanation]:
    """The codes of one file. Raises `ValueError` that says what is wrong with it."""
    for code, content in tomllib.loads(text).items():
        if not _CODE.fullmatch(code) or not isinstance(content, dict):
            raise ValueError(f"{home}: {code!r} is no code: write small letters and underscores")
        unknown = content.keys() - {"title", "cause", "fix", "example"}
        missing = {"title", "cause", "fix"} - content.keys()
        if unknown or missing:
            raise ValueError(f"{home}: {code} has {unknown or 'no'} {missing or ''}".strip())
        plain = {key: " ".join(value.split()) for key, value in content.items() if key != "example"}
        yield Explanation(code, **plain, example=content.get("example", "").strip("\n"), home=home)


def nearest(code: str) -> list[str]:
    """Codes that are like it, the nearest first."""
    return difflib.get_close_matches(code, catalogue(), n=3, cutoff=_ALIKE)
