"""What a stream may ask for at most, whoever sent it."""

from __future__ import annotations

__all__ = ["MAX_PIXELS"]

#: The largest picture of H.264 up to level 5.2, which is 4K and a little: a decoder keeps a dozen,
#: and a header of a few bytes may ask for them.
MAX_PIXELS = 4096 * 2304
