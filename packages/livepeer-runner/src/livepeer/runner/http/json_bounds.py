"""How much work a JSON text is, counted before it is parsed.

A parser holds Python's lock from the first byte to the last, so a thread does not help: while two
megabytes of `[{},{},...]` become objects, nothing else in the process answers. Bytes are therefore
not the measure, values are. The count costs a small part of the parsing, lets others run, and ends
as soon as there are too many.
"""

from __future__ import annotations

import asyncio

from livepeer.runner.errors import InvalidInput

MOST_VALUES = 300_000
# What the containers cost beside their elements, measured: lists 4, objects with their model 20.
_WEIGHTS = ((b",", 1), (b"[", 4), (b"{", 20))
# Less than this is parsed in milliseconds, whatever it is.
SMALL_BYTES = 8 * 1024
# Counting more than this would be felt by others on the event loop.
INLINE_BYTES = 256 * 1024


async def check_values(body: bytes, most: int = MOST_VALUES) -> None:
    """Raises `InvalidInput` where `body` holds more than `most` values.

    A list counts as 4, an object as 20, everything else as 1; what stands within a text is no
    value.
    """
    if len(body) <= SMALL_BYTES:
        return
    # Also counts what stands within texts: where that is few enough, nothing else is to be done.
    if len(body) <= INLINE_BYTES and _weight(body, 0, len(body)) <= most:
        return
    if not await asyncio.to_thread(has_at_most, body, most):
        raise InvalidInput(
            f"the body holds over {most} values (a list counts as 4, an object as 20): "
            f"send large arrays as a file"
        )


def has_at_most(body: bytes, most: int) -> bool:
    """Takes a step for each text, so at most `most` of them."""
    count = 0
    position = 0
    while True:
        opening = body.find(b'"', position)
        end = len(body) if opening < 0 else opening
        count += _weight(body, position, end)
        if opening < 0 or count > most:
            return count <= most
        position = opening + 1
        while True:
            closing = body.find(b'"', position)
            if closing < 0:
                return count <= most
            piece = body[max(position, closing - 64) : closing]
            slashes = len(piece) - len(piece.rstrip(b"\\"))
            if slashes == len(piece) and closing - position > slashes:
                piece = body[position:closing]
                slashes = len(piece) - len(piece.rstrip(b"\\"))
            position = closing + 1
            if slashes % 2 == 0:
                break
            count += 1
            if count > most:
                return False


def _weight(body: bytes, start: int, end: int) -> int:
    return sum(weight * body.count(sign, start, end) for sign, weight in _WEIGHTS)
