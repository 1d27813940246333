"""What a stream may ask for at most, whoever sent it."""

from __future__ import annotations

__all__ = ["MAX_PIXELS", "allowance"]

#: The largest picture of H.264 up to level 5.2, which is 4K and a little: a decoder keeps a dozen,
#: and a header of a few bytes may ask for them.
MAX_PIXELS = 4096 * 2304


def allowance(max_pixels: int) -> str:
    """FFmpeg's own option: it counts the margins of its buffers in, so it is given more."""
    return str(max_pixels + max_pixels // 4 + (1 << 16))
