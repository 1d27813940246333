"""What a stream may ask for at most, whoever sent it."""

from __future__ import annotations

__all__ = ["MAX_PIXELS"]

#: 8K, and a little: a damaged header must not ask for more memory than any real picture needs.
MAX_PIXELS = 8192 * 4608
