"""What a build takes from an earlier one: files of the user's cache, by their inputs' hash."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

MOST_FILES = 64
"""Beyond these the oldest are removed."""


def key(parts: Iterable[bytes]) -> str:
    """A hash of all parts, each told from its neighbours."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def reuse(
    kind: str, key: str, make: Callable[[], bytes], *, seconds: float, anew: bool = False
) -> bytes:
    """What `make` made of the same inputs within the last `seconds`, else what it makes now.

    `anew` makes it again. A cache that cannot be read or written is the same as none.
    """
    folder = user_cache_path("livepeer") / "images"
    path = folder / f"{kind}-{key}"
    with suppress(OSError):
        if not anew and 0 <= time.time() - path.stat().st_mtime < seconds:
            return path.read_bytes()
    made = make()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(made)
        temporary.replace(path)
        _prune(folder)
    return made


def _prune(folder: Path) -> None:
    oldest_last = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in oldest_last[MOST_FILES:]:
        path.unlink()
