"""Endings of the files that `encode` writes: a command asks before PyAV is loaded."""

from __future__ import annotations

CONTAINERS = {
    **{".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"},
    **{".ts": "mpegts", ".m2ts": "mpegts", ".mts": "mpegts"},
    **{".m4a": "mp4", ".mka": "matroska", ".aac": "adts", ".wav": "wav"},
}
"""FFmpeg's name of the container by the ending."""
FORMATS = tuple(CONTAINERS)
SOUND = (".m4a", ".mka", ".aac", ".wav")
"""Endings of files that hold no pictures."""
