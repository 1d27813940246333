"""Glass to glass: a time drawn into a picture, read back from what came out at the other end.

The mark is a row of 56 black or white squares of 16 pixels at the upper left: 48 bits of a
monotonic microsecond clock, and 8 of checksum. It is encoded and decoded like any other pixels, so
it tells when this very picture was handed in, whatever the code in between says.
Clocks of processes on one machine agree (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np

SQUARE, BITS, CHECK = 16, 48, 8


def microseconds() -> int:
    return time.monotonic_ns() // 1000


def draw(luma: Any, value: int) -> None:
    """Write `value` (48 bits) into the first 16 rows of a (H, W >= 896) luma plane."""
    word = value << CHECK | _check(value)
    bits = [(word >> i) & 1 for i in reversed(range(BITS + CHECK))]
    row = np.repeat(np.where(bits, 235, 16).astype(np.uint8), SQUARE)
    luma[:SQUARE, : row.size] = row


def read(luma: Any) -> int | None:
    """The value drawn into a luma plane, or None where the picture is too damaged to tell."""
    area = luma[4 : SQUARE - 4, : SQUARE * (BITS + CHECK)].astype(np.float32)
    squares = area.reshape(area.shape[0], BITS + CHECK, SQUARE)[:, :, 4:-4].mean(axis=(0, 2))
    word = 0
    for bit in squares > 125:
        word = word << 1 | int(bit)
    value = word >> CHECK
    return value if word & 0xFF == _check(value) else None


def _check(value: int) -> int:
    return sum(value.to_bytes(6, "big")) * 31 & 0xFF


def scenery(count: int, width: int = 1280, height: int = 720, noise: int = 6) -> list[Any]:
    """`count` yuv420p pictures, (H * 3 / 2, W), of a camera that moves over a textured scene.

    `noise`: its grain, in levels (one standard deviation)."""
    rng = np.random.default_rng(7)
    grain = rng.normal(0, noise, (height, width * 2))
    y, x = np.mgrid[0:height, 0 : width * 2]
    scene = 120 + 50 * np.sin(x / 37) * np.cos(y / 23) + 30 * np.sin((x + 2 * y) / 11) + grain
    luma = scene.clip(16, 235).astype(np.uint8)
    pictures = []
    for i in range(count):
        at = min(i, count - i) * 8 % width
        picture = np.full((height * 3 // 2, width), 128, np.uint8)
        picture[:height] = luma[:, at : at + width]
        picture[height:] += np.uint8(i % 40)
        pictures.append(picture)
    return pictures


def percentile(values: Sequence[float], share: float) -> float:
    return float(np.percentile(np.asarray(values), share)) if len(values) else float("nan")


def resident_mb() -> float:
    """Resident memory of this process, in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def process(target: Callable[..., None], *args: Any) -> Iterator[Any]:
    """Run `target(*args, pipe)` in another process; gives this end of the pipe."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    child = context.Process(target=target, args=(*args, theirs), daemon=True)
    child.start()
    try:
        yield mine
    finally:
        child.terminate()
        child.join(5)


def told(pipe: Any, limit: float = 90) -> Any:
    """What the other process says next."""
    if not pipe.poll(limit):
        raise RuntimeError(f"the other process said nothing for {limit} s")
    return pipe.recv()


def serve(pipe: Any) -> None:
    """For `process`: a trickle server of its own; tells its URL."""
    import asyncio

    from livepeer.trickle import TrickleServer

    async def main() -> None:
        async with TrickleServer() as server:
            pipe.send(server.url)
            await asyncio.Event().wait()

    asyncio.run(main())


async def publish_live(
    url: str, pictures: Sequence[Any], seconds: float, *, fps: int = 30, **options: Any
) -> Any:
    """Publish marked pictures in real time; gives the publisher's stats and its start."""
    import asyncio

    from livepeer.trickle import TricklePublisher
    from livepeer.trickle.media import MediaPublisher, VideoFrame

    begin = microseconds()
    carrier = TricklePublisher(url, create=True, linger=0.3)
    async with MediaPublisher(url, audio=None, publisher=carrier, **options) as publisher:
        first = time.monotonic()
        for i in range(round(seconds * fps)):
            await asyncio.sleep(max(0.0, first + i / fps - time.monotonic()))
            frame = VideoFrame.from_ndarray(
                pictures[i % len(pictures)], "yuv420p", time=Fraction(i, fps)
            )
            draw(frame.planes[0], microseconds())
            await publisher.write(frame)
    return publisher.stats, begin


def table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> None:
    """Print aligned columns, as Markdown."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    for row in (heads, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |")
