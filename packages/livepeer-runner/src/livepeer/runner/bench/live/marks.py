"""A number drawn into a picture, and clicks in a sound: what survives encoding, tint and scaling.

The number's 16 bits and 8 of checksum stand in three rows of black and white blocks at the upper
left, over half of the width and a sixth of the height, whatever size the picture has. Each row
begins with a white and a black block: a bit is what it is nearer to, so brightness, contrast and
even inversion may change.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

NUMBERS: Final = 1 << 16
COLUMNS, ROWS = 10, 3
WIDTH, HEIGHT = 0.5, 1 / 6
"""The part of a picture that the blocks take."""
CONTRAST: Final = 20
"""Levels between white and black below which there is no number, but a picture."""
WHITE, BLACK, NEUTRAL = 235, 16, 128

RATE: Final = 48_000
CLICK_SECONDS: Final = 0.01
CLICK_HERTZ: Final = 1000
CLICK_EVERY: Final = 1.0
"""Seconds between two clicks: a skew is known within half of that."""
BIN: Final = 0.001
"""Seconds over which the energy of a sound is added up."""
QUIET: Final = 0.05
"""The share of the loudest bin's energy below which there is no click."""


def draw(planes: Any, number: int) -> None:
    """Draw it into the Y, U and V of a picture: arrays (H, W) and (H/2, W/2) twice."""
    import numpy as np

    luma = planes[0]
    high, low = number >> 8 & 0xFF, number & 0xFF
    cells = np.full((ROWS, COLUMNS), BLACK, np.uint8)
    cells[:, 0] = WHITE
    for row, byte in enumerate((high, low, check(number))):
        cells[row, 2:] = [WHITE if byte >> bit & 1 else BLACK for bit in range(7, -1, -1)]
    height, width = luma.shape
    down, across = edges(height, HEIGHT, ROWS), edges(width, WIDTH, COLUMNS)
    blocks = np.repeat(np.repeat(cells, np.diff(down), axis=0), np.diff(across), axis=1)
    luma[: down[-1], : across[-1]] = blocks
    for chroma in planes[1:]:  # a colour would be cut off at black and white, and change both
        chroma[: down[-1] // 2 + 1, : across[-1] // 2 + 1] = NEUTRAL


def read(luma: Any) -> int | None:
    """The number in the luma (H, W) of a picture of any size; None where none can be read."""
    height, width = luma.shape
    down, across = edges(height, HEIGHT, ROWS), edges(width, WIDTH, COLUMNS)
    if height < 4 * ROWS / HEIGHT or width < 4 * COLUMNS / WIDTH:
        return None
    found = []
    for top, bottom in pairwise(down):
        inset = (bottom - top) // 4
        # The rows of the inner half, then of each block its inner half.
        line = luma[top + inset : bottom - inset].mean(axis=0)
        levels = []
        for left, right in pairwise(across):
            aside = (right - left) // 4
            levels.append(float(line[left + aside : right - aside].mean()))
        white, black, *bits = levels
        if abs(white - black) < CONTRAST:
            return None
        byte = 0
        for level in bits:
            byte = byte << 1 | (abs(level - white) < abs(level - black))
        found.append(byte)
    number = found[0] << 8 | found[1]
    return number if check(number) == found[2] else None


def check(number: int) -> int:
    """CRC-8 (polynomial 0x07) of the number's two bytes; not 0 for 0, which an even picture has."""
    crc = 0xA5
    for byte in (number >> 8, number & 0xFF):
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc


def edges(size: int, share: float, parts: int) -> list[int]:
    """Where the blocks begin along one side, and where the last one ends."""
    return [round(size * share * part / parts) for part in range(parts + 1)]


def click() -> Any:
    """One click: `float32` samples at `RATE`, loudest in the middle."""
    import numpy as np

    count = round(CLICK_SECONDS * RATE)
    wave = np.sin(2 * np.pi * CLICK_HERTZ * np.arange(count) / RATE)
    return (0.8 * wave * np.hanning(count)).astype(np.float32)


def energy(samples: Any, rate: int) -> list[float]:
    """The energy of each `BIN` of samples (channels, n)."""
    import numpy as np

    mono = samples.mean(axis=0)
    size = max(1, round(rate * BIN))
    whole = len(mono) // size * size
    return [float(each) for each in np.square(mono[:whole]).reshape(-1, size).mean(axis=1)]


def clicks(heard: list[tuple[float, float]]) -> list[float]:
    """The times of the clicks in a sound, given as (time, energy) of its bins in order.

    A click's time is the middle of its energy, which an encoder's spreading leaves where it is.
    """
    loudest = max((each for _, each in heard), default=0.0)
    found: list[list[tuple[float, float]]] = []
    for time, each in heard:
        if loudest <= 0 or each < loudest * QUIET:
            continue
        if not found or time - found[-1][-1][0] > CLICK_EVERY / 2:
            found.append([])
        found[-1].append((time, each))
    # What is loud for longer is no click: a voice, a tone, noise.
    short = [each for each in found if each[-1][0] - each[0][0] < CLICK_EVERY / 10]
    if len(short) < len(found):
        return []
    return [
        sum(time * each for time, each in one) / sum(each for _, each in one) + BIN / 2
        for one in short
    ]
