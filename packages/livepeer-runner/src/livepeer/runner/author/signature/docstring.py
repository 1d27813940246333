"""What a docstring says: its summary, and its sentence for each parameter.

Understands the three usual forms, Google (`Args:`), NumPy (`Parameters` underlined) and Sphinx
(`:param name: ...`), each only as far as names and their descriptions go.
"""

from __future__ import annotations

import inspect
import re

_SPHINX = re.compile(r":param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)")
_GOOGLE = re.compile(r"(\w+)\s*(?:\([^)]*\))?\s*:\s+(.*)")
_NUMPY = re.compile(r"(\w+)\s*(?::.*)?$")
_SECTION = re.compile(r"(args|arguments|parameters|params)\s*:\s*$", re.IGNORECASE)
_OTHER_SECTION = re.compile(r"(returns?|yields?|raises|examples?|notes?|warnings?)\s*:?\s*$", re.I)


def summary(doc: str | None) -> str:
    """The first paragraph on one line; empty where there is none."""
    first = inspect.cleandoc(doc or "").split("\n\n")[0]
    lines = []
    for line in first.splitlines():
        if _SECTION.match(line) or _SPHINX.match(line):
            break
        lines.append(line.strip())
    return " ".join(lines).strip()


def parameters(doc: str | None) -> dict[str, str]:
    """The description of each parameter that the docstring describes."""
    lines = inspect.cleandoc(doc or "").splitlines()
    found = _sphinx(lines)
    for number, line in enumerate(lines):
        underlined = number + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[number + 1].strip())
        if line.strip().lower() in ("parameters", "other parameters") and underlined:
            found.update(_described(lines[number + 2 :], _NUMPY, indented=False))
        elif _SECTION.match(line):
            found.update(_described(lines[number + 1 :], _GOOGLE, indented=True))
    return {name: text for name, text in found.items() if text}


def _sphinx(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    name = None
    for line in lines:
        if match := _SPHINX.match(line.strip()):
            name, text = match.groups()
            found[name] = text
        elif name and line.startswith(" ") and line.strip():
            found[name] = f"{found[name]} {line.strip()}".strip()
        else:
            name = None
    return found


def _described(lines: list[str], entry: re.Pattern[str], *, indented: bool) -> dict[str, str]:
    """Entries at one indentation, each followed by deeper lines of its description."""
    found: dict[str, str] = {}
    name = None
    level: int | None = None
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        ended = (indented and indent == 0) or re.fullmatch(r"-{3,}", following)
        if ended or (indent == 0 and _OTHER_SECTION.match(line)):
            break
        level = indent if level is None else level
        if indent > level:
            if name is not None:
                found[name] = f"{found[name]} {line.strip()}".strip()
        elif match := entry.match(line.strip()):
            name = match[1]
            found[name] = match[2] if entry.groups > 1 else ""
        else:
            name = None
    return found
