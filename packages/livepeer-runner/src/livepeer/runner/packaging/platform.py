"""The platform that images are made for."""

from __future__ import annotations

from typing import Final

PLATFORM: Final = "linux/amd64"
"""What orchestrators run, and what a command means that names no other."""
