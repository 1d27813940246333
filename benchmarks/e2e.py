"""Glass to glass by the whole road: client, orchestrator, runner, client. Over TLS.

    python benchmarks/e2e.py [--seconds 15] [--registry byoc --registry live-runner]
                             [--size 1920x1080] [--fps 30] [--grain 12]

Four processes: the local orchestrator (its trickle server carries the media), a served pipeline
that registered itself, and one for the client, which sends and receives; this one only waits. A
picture tells its own times: the client draws one into it as it hands it over, the hook two more as
it gets and returns it, and the client reads all three as it gets it back.

The shares: what each part costs by itself is measured in the same run. Encoding and decoding are
those of the same pictures in a process that does nothing else; the hop is that of a picture's
worth of bytes through the same orchestrator. What is left of the whole is waiting: for the other
core, for threads, for the packets of a frame to be complete.

A keyframe is one that was encoded as such on its way in or out; they make the tail, and have rows
of their own. PSNR is that of pictures that came back, twice encoded, beside what was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import glass
from livepeer.runner import LivePipeline, VideoFrame

FPS = 30
SECRET = "bench"
WARM_UP = 2.0
"""Seconds at the start that count for the first frame only."""
PROBE = "probe"
KEY = 1 << 47
"""Beside the time at which the hook had a picture: it came as a keyframe."""
KEPT = 8
"""Keyframes, and other pictures, that are kept to be compared with what was sent."""
NAMES = {"byoc": "identity", "live-runner": "bench/identity"}
"""By registry: what the pipeline is called there. An app's id is what makes the client ask the live
runners first."""


@dataclass(frozen=True)
class Shot:
    """What is sent."""

    width: int = 1280
    height: int = 720
    fps: int = FPS
    grain: int = 6
    """Noise of the scene, in levels (one standard deviation)."""

    def __str__(self) -> str:
        return f"{self.width}x{self.height} at {self.fps}, grain {self.grain}"


class Identity(LivePipeline):
    """Gives each picture back, with the times at which it had it drawn in."""

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        came = glass.microseconds() | KEY * frame.key_frame
        luma = frame.planes[0]
        glass.draw(luma[2 * glass.SQUARE :], came)
        glass.draw(luma[4 * glass.SQUARE :], glass.microseconds())
        return frame


# --- the processes -------------------------------------------------------------------------------


def orchestrator(pipe: Any) -> None:
    from livepeer.runner.devnet import LocalOrchestrator

    async def main() -> None:
        async with LocalOrchestrator(secret=SECRET) as local:
            local.trickle.create(PROBE)
            pipe.send(local.url)
            await asyncio.Event().wait()

    asyncio.run(main())


def container(url: str, registry: str, pipe: Any) -> None:
    import logging

    os.environ |= {
        "HOST": "127.0.0.1",
        "PORT": "0",
        "LIVEPEER_ORCH_URL": url,
        "LIVEPEER_ORCH_SECRET": SECRET,
        "LIVEPEER_REGISTRATION": registry,
        "LIVEPEER_APP": NAMES["live-runner"],
        "LIVEPEER_LOG_LEVEL": "warning",
    }
    from livepeer.runner import serve

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "is registered at" in record.getMessage():
                pipe.send("registered")

    log = logging.getLogger("livepeer.runner.attach")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(Told())
    serve(Identity)


def client(url: str, registry: str, seconds: float, shot: Shot, pipe: Any) -> None:
    os.environ["LIVEPEER_PINS"] = str(Path(tempfile.mkdtemp()) / "pins.json")
    pictures = glass.scenery(60, shot.width, shot.height, shot.grain)
    parts = codec(pictures, shot.fps)
    found = asyncio.run(_client(url, registry, pictures, seconds, shot.fps, parts["bytes"]))
    pipe.send({"codec": parts, **found})


async def _client(
    url: str, registry: str, pictures: list[Any], seconds: float, fps: int, size: int
) -> dict[str, Any]:
    from livepeer.client import Gateway

    marks: list[tuple[int, ...]] = []
    kept: dict[bool, list[VideoFrame]] = {True: [], False: []}
    lost = 0
    async with Gateway(orch_url=url, tls="pin") as gw:
        hops = await _hop(f"{url}/ai/trickle/{PROBE}", size)
        begin = glass.microseconds()
        async with gw.live(NAMES[registry], data=False, audio=None) as session:
            started = glass.microseconds()
            session.publish(paced(pictures, seconds, fps))
            async for frame in session.subscribe():
                now = glass.microseconds()
                luma = frame.planes[0]
                found = [glass.read(luma[row * glass.SQUARE :]) for row in (0, 2, 4)]
                if found[0] is None or found[1] is None or found[2] is None:
                    lost += 1
                    continue
                key = frame.key_frame or found[1] >= KEY
                marks.append((found[0], found[1] % KEY, found[2], now, key))
                # Compared when all is over: that would take as long as to decode them.
                if len(kept[key]) < KEPT and (key or len(marks) % fps == fps // 2):
                    kept[key].append(frame)
            stats = session.stats()
    assert stats.published is not None
    return {
        "marks": marks,
        "damaged": lost,
        "sent": stats.published.frames,
        "start": started - begin,
        "psnr": {key: [_psnr(frame, pictures, fps) for frame in kept[key]] for key in kept},
        "begin": begin,
        "began": started,
        "hops": hops,
    }


def _psnr(frame: VideoFrame, pictures: list[Any], fps: int) -> float:
    """Of the luma below the times that are drawn in."""
    sent = pictures[round(frame.time * fps) % len(pictures)]
    rows = slice(6 * glass.SQUARE, frame.height)
    error = np.square(frame.view()[0][rows].astype(np.float32) - sent[rows]).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


async def paced(pictures: list[Any], seconds: float, fps: int = FPS) -> AsyncIterator[VideoFrame]:
    first = time.monotonic()
    for i in range(round(seconds * fps)):
        await asyncio.sleep(max(0.0, first + i / fps - time.monotonic()))
        frame = VideoFrame.from_ndarray(
            pictures[i % len(pictures)], "yuv420p", time=Fraction(i, fps)
        )
        glass.draw(frame.planes[0], glass.microseconds())
        yield frame


# --- what the parts cost by themselves -----------------------------------------------------------


def codec(pictures: list[Any], fps: int) -> dict[str, Any]:
    """Milliseconds to encode and to decode each picture, with nothing else to do, and its bytes."""
    from livepeer.trickle.media import SegmentEncoder, StreamDecoder, VideoOutput

    encoder, decoder = SegmentEncoder(VideoOutput(), None), StreamDecoder()
    parts: dict[str, Any] = {
        f"{what}{of}": [] for what in ("encode", "decode", "sizes") for of in ("", " key")
    }
    decoded, count = 0, 4 * fps
    for i in range(count):
        frame = VideoFrame.from_ndarray(
            pictures[i % len(pictures)], "yuv420p", time=Fraction(i, fps)
        )
        glass.draw(frame.planes[0], glass.microseconds())
        begin = time.perf_counter()
        pieces = encoder.encode(frame)
        data = b"".join(piece.data for piece in pieces)
        middle = time.perf_counter()
        decoded += len(decoder.feed(data))
        end = time.perf_counter()
        if i < fps:
            continue
        for of in ("", " key") if pieces[0].new_segment else ("",):
            parts[f"encode{of}"].append((middle - begin) * 1e3)
            parts[f"decode{of}"].append((end - middle) * 1e3)
            parts[f"sizes{of}"].append(len(data))
    if decoded < count - 1:
        raise RuntimeError(f"{decoded} of {count} pictures were decoded")
    return {**parts, "bytes": round(glass.percentile(parts["sizes"], 50))}


async def _hop(url: str, size: int, count: int = 90) -> list[float]:
    """Milliseconds for a picture's worth of bytes from a publisher to a subscriber, mid-segment."""
    from livepeer.trickle import TricklePublisher, TrickleSubscriber

    took: list[float] = []
    sent: asyncio.Queue[float] = asyncio.Queue()

    async def receive() -> None:
        async with TrickleSubscriber(url, start=0, tls=False) as subscriber:
            async for segment in subscriber:
                got = 0
                async for chunk in segment:
                    got += len(chunk)
                    while got >= size:
                        got -= size
                        took.append((time.perf_counter() - sent.get_nowait()) * 1e3)

    receiving = asyncio.create_task(receive())
    async with TricklePublisher(url, tls=False, linger=0.1) as publisher:
        for _ in range(count // FPS):
            async with publisher.segment() as segment:
                for _ in range(FPS):
                    sent.put_nowait(time.perf_counter())
                    await segment.write(bytes(size))
                    await asyncio.sleep(1 / FPS)
    async with asyncio.timeout(10):
        await receiving
    return took


# --- the table -----------------------------------------------------------------------------------


def rows(found: dict[str, Any]) -> Iterator[list[str]]:
    counted = _counted(found)

    def between(first: int, last: int, key: bool | None = None) -> list[float]:
        return [
            (mark[last] - mark[first]) / 1e3 for mark in counted if key is None or mark[4] == key
        ]

    def figures(what: str, values: list[float], of: float | None = None) -> list[str]:
        p50 = glass.percentile(values, 50)
        share = "" if of is None else f"{p50 / of:.0%}"
        # A percentile that so few samples cannot carry is left out.
        rare = [
            f"{glass.percentile(values, at):.1f}" if len(values) * (100 - at) >= 100 else ""
            for at in (95, 99)
        ]
        return [what, f"{p50:.1f}", *rare, share]

    whole, codec, hops = glass_to_glass(found), found["codec"], found["hops"]
    total = glass.percentile(whole, 50)
    yield figures("glass to glass", whole, total)
    yield figures("in: client to hook", between(0, 1), total)
    yield figures("the hook", between(1, 2), total)
    yield figures("out: hook to client", between(2, 3), total)
    yield figures("client encodes *", codec["encode"], total)
    yield figures("orchestrator, in *", hops, total)
    yield figures("runner decodes *", codec["decode"], total)
    yield figures("runner encodes *", codec["encode"], total)
    yield figures("orchestrator, out *", hops, total)
    yield figures("client decodes *", codec["decode"], total)
    parts = 2 * sum(glass.percentile(part, 50) for part in (codec["encode"], hops, codec["decode"]))
    parts += glass.percentile(between(1, 2), 50)
    yield ["waiting (the rest)", f"{total - parts:.1f}", "", "", f"{1 - parts / total:.0%}"]
    for name, key in (("keyframes", True), ("other pictures", False)):
        yield figures(f"{name}: glass to glass", between(0, 3, key), total)
        yield figures(f"{name}: in", between(0, 1, key), total)
        yield figures(f"{name}: out", between(2, 3, key), total)
    yield figures("keyframes: encode *", codec["encode key"])
    yield figures("keyframes: decode *", codec["decode key"])
    yield ["starting the stream", f"{found['start'] / 1e3:.1f}", "", "", ""]
    first = (found["marks"][0][3] - found["began"]) / 1e3
    yield ["first picture back, once started", f"{first:.1f}", "", "", ""]


def quality(found: dict[str, Any]) -> str:
    psnr = {key: glass.percentile(values, 50) for key, values in found["psnr"].items()}
    sizes = found["codec"]
    return (
        f"PSNR of keyframes {psnr[True]:.1f} dB, of others {psnr[False]:.1f} dB; bytes of one "
        f"{glass.percentile(sizes['sizes key'], 50):,.0f} and {sizes['bytes']:,}, "
        f"{np.mean(sizes['sizes']):,.0f} on average"
    )


def measure(seconds: float, registry: str = "byoc", shot: Shot = Shot()) -> dict[str, Any]:
    """Runs it all; the marks of each picture in microseconds, and what the parts cost."""
    with (
        glass.process(orchestrator) as one,
        glass.process(container, url := glass.told(one), registry) as two,
    ):
        glass.told(two)
        with glass.process(client, url, registry, seconds, shot) as three:
            found: dict[str, Any] = glass.told(three, seconds + 60)
    if not found["marks"]:
        sys.exit("no picture came back")
    return found


def _counted(found: dict[str, Any]) -> list[tuple[int, ...]]:
    return [mark for mark in found["marks"] if mark[0] > found["began"] + WARM_UP * 1e6]


def glass_to_glass(found: dict[str, Any]) -> list[float]:
    """Milliseconds of each picture after the first two seconds."""
    return [(mark[3] - mark[0]) / 1e3 for mark in _counted(found)]


def _shot(given: argparse.Namespace) -> Shot:
    width, height = (int(side) for side in given.size.split("x"))
    return Shot(width, height, given.fps, given.grain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="of video")
    parser.add_argument(
        "--registry",
        choices=tuple(NAMES),
        action="append",
        help="where the pipeline registers; twice: one after the other, beside each other",
    )
    parser.add_argument("--size", default="1280x720", help="WIDTHxHEIGHT, 896 wide at least")
    parser.add_argument("--fps", type=int, default=FPS)
    parser.add_argument("--grain", type=int, default=6, help="noise of the scene, in levels")
    given = parser.parse_args()
    shot = _shot(given)
    whole: list[tuple[str, list[float]]] = []
    for registry in given.registry or ["byoc"]:
        found = measure(given.seconds, registry, shot)
        whole.append((registry, glass_to_glass(found)))
        head = (f"{registry}, {shot}, ms", "p50", "p95", "p99", "share of p50")
        glass.table(list(rows(found)), head)
        print(
            f"\n{found['sent']} pictures sent, {len(found['marks'])} came back, "
            f"{found['damaged']} unreadable; {os.cpu_count()} cores. * measured by itself\n"
            f"{quality(found)}\n"
        )
    if len(whole) > 1:
        first = [glass.percentile(whole[0][1], share) for share in (50, 95, 99)]
        lines = []
        for registry, values in whole:
            own = [glass.percentile(values, share) for share in (50, 95, 99)]
            beside = [f"{mine / other:.0%}" for mine, other in zip(own, first, strict=True)]
            lines.append([registry, *(f"{each:.1f}" for each in own), *beside])
        names = ("p50", "p95", "p99")
        beside = [f"{name} / {whole[0][0]}" for name in names]
        glass.table(lines, ("glass to glass, ms", *names, *beside))


if __name__ == "__main__":
    main()
