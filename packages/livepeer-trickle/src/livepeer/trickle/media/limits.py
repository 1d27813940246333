"""What a stream may ask for at most, whoever sent it."""

from __future__ import annotations

MAX_PIXELS = 4096 * 2304
"""The largest picture of H.264 up to level 5.2, which is 4K and a little: a decoder keeps a
dozen, and a header of a few bytes may ask for them."""


_WAITING_PIXELS = 1 << 27
"""Of pictures that are decoded and wait for their turn: a second of 1080p at 60 a second."""


def allowance(max_pixels: int) -> str:
    """FFmpeg's own option: it counts the margins of its buffers in, so it is given more."""
    return str(max_pixels + max_pixels // 4 + (1 << 16))


def pictures_that_may_wait(most: int, width: int, height: int) -> int:
    """`most` pictures of that size, or as many as memory is for; some in any case."""
    return max(min(most, 4), min(most, _WAITING_PIXELS // max(1, width * height)))


def too_large(width: int, height: int, max_pixels: int) -> ValueError:
    """What is raised for a file whose pictures are over the limit."""
    return ValueError(
        f"its pictures are {width}x{height}, and max_pixels is {max_pixels}: "
        "give decode(..., max_pixels=...) a larger one to have them"
    )
