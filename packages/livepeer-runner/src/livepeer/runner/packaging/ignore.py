"""Which files stay out of an image: `.dockerignore`, and what never belongs into one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

FILE = ".dockerignore"

ALWAYS = (
    "**/.git",
    "**/.hg",
    "**/.svn",
    "**/.venv",
    "**/venv",
    "**/node_modules",
    "**/__pycache__",
    "**/*.pyc",
    "**/.pytest_cache",
    "**/.mypy_cache",
    "**/.ruff_cache",
    "**/.DS_Store",
    ".livepeer",
)
"""What no image needs. A line `!...` of `.dockerignore` takes one back."""

SECRETS = (
    "**/.env",
    "**/.env.*",
    "**/*.pem",
    "**/*.key",
    "**/id_rsa*",
    "**/id_ed25519*",
    "**/.ssh",
    "**/.aws",
    "**/.netrc",
    "**/.pypirc",
    "**/.docker",
    "**/.huggingface",
    "**/keystore",
)
"""What commonly holds secrets. A line `!...` of `.dockerignore` takes one back."""


class Ignored:
    """The rules of one folder, in Docker's way: the last one that matches decides."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._rules: list[tuple[re.Pattern[str], bool]] = []
        for line in (*ALWAYS, *SECRETS, *patterns):
            pattern = line.strip()
            if not pattern or pattern.startswith("#"):
                continue
            negated = pattern.startswith("!")
            cleaned = pattern.lstrip("!").strip().strip("/")
            if cleaned and cleaned != ".":
                self._rules.append((re.compile(_translated(cleaned)), negated))

    @classmethod
    def of(cls, folder: Path) -> Ignored:
        """With the rules of the folder's `.dockerignore`, where it has one."""
        file = folder / FILE
        text = file.read_text(encoding="utf-8-sig") if file.is_file() else ""
        return cls(text.splitlines())

    def __call__(self, path: str) -> bool:
        """Whether a file (`a/b.txt`, below the folder) stays out."""
        out = False
        for rule, negated in self._rules:
            if out == negated and rule.match(path):
                out = not negated
        return out


def _translated(pattern: str) -> str:
    """As a regular expression for the start of a path: what is below a match matches too."""
    text, i = "", 0
    while i < len(pattern):
        if pattern.startswith("**/", i):
            text, i = f"{text}(?:.*/)?", i + 3
        elif pattern.startswith("**", i):
            text, i = f"{text}.*", i + 2
        elif pattern[i] == "*":
            text, i = f"{text}[^/]*", i + 1
        elif pattern[i] == "?":
            text, i = f"{text}[^/]", i + 1
        elif pattern[i] == "[" and (end := pattern.find("]", i + 2)) > 0:
            inner = pattern[i + 1 : end].replace("\\", "\\\\")
            text, i = f"{text}[{inner}]", end + 1
        elif pattern[i] == "\\" and i + 1 < len(pattern):
            text, i = f"{text}{re.escape(pattern[i + 1])}", i + 2
        else:
            text, i = f"{text}{re.escape(pattern[i])}", i + 1
    return f"{text}(?:/|$)"
