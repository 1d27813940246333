"""Does it stay as it began? A live stream with sound through one process, for ten minutes.

    python benchmarks/soak.py [SECONDS] [--policy latest]

A source, a server, an identity (decode, encode) and a reader, four processes, 1024x576 at 30 fps
with AAC. Every picture carries its number, every whole second a click. Told at the end, and exit
status 1 where one is broken: no frame lost, sound and pictures apart by less than 20 ms and no
drift above that, memory and open files of the identity as they were after the first tenth. The
identity is real time: on a busy machine it drops what it gets too late, and says how many.

A burst after a stall leaves memory behind: FFmpeg keeps the buffers of as many pictures as were
ever alive at once (thirty wait at most), malloc what it had grown to. So memory goes up in a stair
with each load that is worse than any before, and stays; a leak would go up without one. The tenths
and the load of the machine tell the two apart.

The reader takes all there is (`policy="all"`), so that what it misses was lost on the way. With
`--policy latest` it drops what it gets too late on a busy machine, and counts that.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from fractions import Fraction
from typing import Any

import numpy as np

import glass

FPS, RATE = 30, 48_000
WIDTH, HEIGHT = 1024, 576


def _source(url: str, seconds: int, pipe: Any) -> None:
    from livepeer.trickle import TricklePublisher
    from livepeer.trickle.media import AudioFrame, MediaPublisher, VideoFrame

    pictures = glass.scenery(60, WIDTH, HEIGHT)
    size = RATE // 50
    quiet, click = np.zeros((2, size), np.float32), np.zeros((2, size), np.float32)
    click[:, : size // 4] = 0.8

    async def main() -> None:
        carrier = TricklePublisher(url, create=True)
        async with MediaPublisher(url, publisher=carrier, expect=["video", "audio"]) as publisher:
            pipe.send("ready")
            pipe.recv()
            begin = time.monotonic()

            async def until(due: float) -> None:
                await asyncio.sleep(max(0.0, begin + due - time.monotonic()))

            async def show() -> None:
                for i in range(seconds * FPS):
                    await until(i / FPS)
                    frame = VideoFrame.from_ndarray(
                        pictures[i % len(pictures)], "yuv420p", time=1 + Fraction(i, FPS)
                    )
                    glass.draw(frame.planes[0], i)
                    await publisher.write(frame)

            async def sound() -> None:
                for i in range(seconds * 50):
                    await until(i / 50)
                    await publisher.write(
                        AudioFrame.from_ndarray(
                            quiet if i % 50 else click, rate=RATE, time=1 + Fraction(i, 50)
                        )
                    )

            await asyncio.gather(show(), sound())
        pipe.send(publisher.stats.frames)

    asyncio.run(main())


def _identity(source: str, sink: str, pipe: Any) -> None:
    from livepeer.trickle import TricklePublisher
    from livepeer.trickle.media import MediaPublisher, MediaSubscriber

    async def main() -> None:
        health: list[tuple[float, int]] = []
        carrier = TricklePublisher(sink, create=True)
        async with (
            MediaSubscriber(source, start=0) as frames,
            MediaPublisher(sink, publisher=carrier, expect=["video", "audio"]) as publisher,
        ):
            pipe.send("ready")
            due = 0.0
            async for frame in frames:
                await publisher.write(frame)
                if time.monotonic() >= due:
                    health.append((glass.resident_mb(), glass.open_files()))
                    due = time.monotonic() + 1
        pipe.send((health, frames.stats.dropped, str(publisher.stats)))

    asyncio.run(main())


def _reader(url: str, policy: Any, pipe: Any) -> None:
    from livepeer.trickle.media import MediaSubscriber

    async def main() -> None:
        shown: dict[int, float] = {}
        clicks: list[float] = []
        async with MediaSubscriber(url, start=0, policy=policy) as frames:
            pipe.send("ready")
            async for frame in frames:
                if frame.kind == "video":
                    number = glass.read(frame.view()[0])
                    if number is not None:
                        shown[number] = float(frame.time)
                    continue
                loud = np.flatnonzero(np.abs(frame.samples[0]) > 0.3)
                if loud.size:
                    at = float(frame.time) + loud[0] / frame.rate
                    if not clicks or at - clicks[-1] > 0.5:
                        clicks.append(at)
        stats = frames.stats
        pipe.send((shown, clicks, stats.dropped, stats.transport.gaps))

    asyncio.run(main())


def offsets(shown: dict[int, float], clicks: list[float]) -> list[float]:
    """Sound minus picture, in ms, at each whole second of which both arrived."""
    out = []
    for click in clicks:
        second = round(click - 1)
        if (at := shown.get(second * FPS)) is not None:
            out.append((click - at) * 1000)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seconds", nargs="?", type=int, default=600)
    parser.add_argument("--policy", choices=("all", "latest"), default="all", help="the reader's")
    arguments = parser.parse_args()
    seconds: int = arguments.seconds
    with glass.process(glass.serve) as server:
        url = glass.told(server)
        with glass.process(_source, f"{url}/in", seconds) as source:
            glass.told(source)
            with glass.process(_identity, f"{url}/in", f"{url}/out") as identity:
                glass.told(identity)
                with glass.process(_reader, f"{url}/out", arguments.policy) as reader:
                    glass.told(reader)
                    source.send("go")
                    shown, clicks, late, gaps = glass.told(reader, seconds + 60)
                    health, dropped, stats = glass.told(identity)
    lost = seconds * FPS - len(shown)
    apart = offsets(shown, clicks)
    if not apart:
        raise RuntimeError(f"no click was heard; {len(shown)} pictures came: {stats}")
    tenth = max(1, len(apart) // 10)
    drift = abs(float(np.median(apart[-tenth:]) - np.median(apart[:tenth])))
    worst = max(map(abs, apart))
    settled = health[len(health) // 10 :]
    memory = np.array([sample[0] for sample in settled])
    third = max(1, len(memory) // 3)
    growth = float(np.median(memory[-third:]) - np.median(memory[:third]))
    tenths = [float(np.median(part)) for part in np.array_split(memory, 10) if part.size]
    files = max(s[1] for s in settled) - min(s[1] for s in settled)
    rows = [
        [
            "frames lost that nobody counted",
            str(lost - dropped - late),
            "0",
            lost <= dropped + late,
        ],
        [
            "dropped as too late: identity, reader",
            f"{dropped}, {late}",
            "0 without load",
            lost == 0,
        ],
        ["gaps of the reader", str(gaps), "0", gaps == 0],
        [
            "clicks heard",
            f"{len(apart)} of {seconds}",
            "all but the last",
            len(apart) >= seconds - 1,
        ],
        [
            "sound to picture, worst, ms",
            f"{worst:.2f}",
            "< 20",
            worst < 20,
        ],
        ["drift of sound, ms", f"{drift:.2f}", "< 20", drift < 20],
        ["memory in each tenth, MB", " ".join(f"{m:.0f}" for m in tenths), "", True],
        ["memory grown, last third to first, MB", f"{growth:.1f}", "< 5", growth < 5],
        ["open files, most - least", str(files), "≤ 4", files <= 4],
    ]
    table = [[a, b, c, "met" if ok else "MISSED"] for a, b, c, ok in rows]
    glass.table(table, (f"soak, {seconds} s", "seen", "goal", "verdict"))
    print(f"\n{stats}")
    print("load of 1, 5, 15 minutes:", *(f"{load:.1f}" for load in os.getloadavg()), end="")
    print(f" on {os.cpu_count()} cores")
    missed = [str(row[0]) for row in rows if not row[3]]
    print("MISSED: " + ", ".join(missed) if missed else "all met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
