"""A few pictures of a stream, kept as JPEG, for who cannot watch it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livepeer.trickle.media import VideoFrame

LARGEST = 768
"""Pixels of a picture's longer side."""
QUALITY = 85


@dataclass(frozen=True, slots=True)
class _Kept:
    frame: VideoFrame
    number: int
    waited: float
    """Seconds from the picture before it to this one."""


class KeptPictures:
    """The first, the middle, the last picture, and the worst: that which came longest after the
    one before it, where the pipeline was slowest.

    `middle` is the time of the middle one, in seconds after the first; None: there is none.
    """

    def __init__(self, folder: Path, middle: float | None) -> None:
        self._folder = folder
        self._middle = middle
        self._kept: dict[str, _Kept] = {}
        self._count = 0
        self._began = 0.0
        self._came = 0.0

    def look(self, frame: VideoFrame) -> None:
        now, time_ = time.monotonic(), float(frame.time or 0)
        kept = _Kept(frame, self._count, now - self._came if self._count else 0.0)
        self._came = now
        if not self._count:
            self._began = time_
            self._kept["first"] = kept
        elif "worst" not in self._kept or kept.waited > self._kept["worst"].waited:
            self._kept["worst"] = kept
        if (
            "middle" not in self._kept
            and self._middle is not None
            and time_ - self._began >= self._middle
        ):
            self._kept["middle"] = kept
        self._kept["last"] = kept
        self._count += 1

    def write(self) -> list[dict[str, Any]]:
        """Write them, each once; what each is, for the report."""
        self._folder.mkdir(parents=True, exist_ok=True)
        written: dict[int, dict[str, Any]] = {}
        for what in ("first", "middle", "last", "worst"):
            kept = self._kept.get(what)
            if kept is None:
                continue
            if (there := written.get(kept.number)) is not None:
                there["what"].append(what)
                continue
            path = self._folder / f"{what}.jpg"
            _write(kept.frame, path)
            written[kept.number] = {
                "what": [what],
                "number": kept.number,
                "time": round(float(kept.frame.time or 0) - self._began, 3),
                "waited_ms": round(1000 * kept.waited, 1),
                "path": str(path),
            }
        return list(written.values())


def _write(frame: VideoFrame, path: Path) -> None:
    from PIL import Image

    with Image.fromarray(frame.to_ndarray("rgb24")) as picture:
        picture.thumbnail((LARGEST, LARGEST))
        picture.save(path, "JPEG", quality=QUALITY)
