"""`livepeer.lock`: which image was pushed last, from what. It belongs into version control."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "livepeer.lock"
LARGEST = 1024 * 1024

FIELDS = (
    "image",
    "digest",
    "platform",
    "schema_sha256",
    "sdk",
    "protocol",
    "base",
    "base_digest",
    "requirements_sha256",
)
"""In the order in which they are written."""


class LockError(Exception):
    """The file is there and cannot be read; the message says why."""

    code = "lock_file"


def read(folder: Path) -> dict[str, Any] | None:
    """What the file says; None where there is none. Raises `LockError`."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LockError(f"{path} cannot be read: {error.strerror}") from error
    try:
        found = json.loads(content) if len(content) <= LARGEST else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise LockError(f"{path} is no JSON object: mend it, or remove it")
    return found


def write(folder: Path, fields: dict[str, Any]) -> list[str]:
    """Write it in one step; the lines that changed (`digest: old -> new`), none where nothing did.

    Raises `LockError`, `OSError`.
    """
    before = read(folder) or {}
    after = {name: fields.get(name) for name in FIELDS if fields.get(name) is not None}
    path = folder / NAME
    temporary = path.with_suffix(".lock.new")
    temporary.write_text(json.dumps(after, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
    return list(_changes(before, after))


def _changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    for name in FIELDS:
        old, new = before.get(name), after.get(name)
        if old != new:
            yield f"{name}: {new}" if old is None else f"{name}: {old} -> {new}"
