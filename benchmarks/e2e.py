"""Glass to glass by the whole road: client, orchestrator, runner, client. 720p30, over TLS.

    python benchmarks/e2e.py [--seconds 15] [--registry byoc --registry live-runner]

Four processes: the local orchestrator (its trickle server carries the media), a served pipeline
that registered itself, and one for the client, which sends and receives; this one only waits. A
picture tells its own times: the client draws one into it as it hands it over, the hook two more as
it gets and returns it, and the client reads all three as it gets it back.

The shares: what each part costs by itself is measured in the same run. Encoding and decoding are
those of the same pictures in a process that does nothing else; the hop is that of a picture's
worth of bytes through the same orchestrator. What is left of the whole is waiting: for the other
core, for threads, for the packets of a frame to be complete.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import glass
from livepeer.runner import LivePipeline, VideoFrame

FPS = 30
SECRET = "bench"
WARM_UP = 2.0
"""Seconds at the start that count for the first frame only."""
PROBE = "probe"
NAMES = {"byoc": "identity", "live-runner": "bench/identity"}
"""By registry: what the pipeline is called there. An app's id is what makes the client ask the live
runners first."""


class Identity(LivePipeline):
    """Gives each picture back, with the times at which it had it drawn in."""

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        came = glass.microseconds()
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


def client(url: str, registry: str, seconds: float, pipe: Any) -> None:
    os.environ["LIVEPEER_PINS"] = str(Path(tempfile.mkdtemp()) / "pins.json")
    pictures = glass.scenery(60)
    pipe.send({"codec": codec(pictures), **asyncio.run(_client(url, registry, pictures, seconds))})


async def _client(url: str, registry: str, pictures: list[Any], seconds: float) -> dict[str, Any]:
    from livepeer.client import Gateway

    marks: list[tuple[int, ...]] = []
    lost = 0
    begin = 0
    async with Gateway(orch_url=url, tls="pin") as gw:
        hops = await _hop(f"{url}/ai/trickle/{PROBE}")
        begin = glass.microseconds()
        async with gw.live(NAMES[registry], data=False, audio=None) as session:
            started = glass.microseconds()
            session.publish(paced(pictures, seconds))
            async for frame in session.subscribe():
                now = glass.microseconds()
                luma = frame.planes[0]
                found = [glass.read(luma[row * glass.SQUARE :]) for row in (0, 2, 4)]
                if None in found:
                    lost += 1
                else:
                    marks.append((*found, now))
            stats = session.stats()
    assert stats.published is not None
    return {
        "marks": marks,
        "damaged": lost,
        "sent": stats.published.frames,
        "start": started - begin,
        "begin": begin,
        "began": started,
        "hops": hops,
    }


async def paced(pictures: list[Any], seconds: float) -> AsyncIterator[VideoFrame]:
    first = time.monotonic()
    for i in range(round(seconds * FPS)):
        await asyncio.sleep(max(0.0, first + i / FPS - time.monotonic()))
        frame = VideoFrame.from_ndarray(
            pictures[i % len(pictures)], "yuv420p", time=Fraction(i, FPS)
        )
        glass.draw(frame.planes[0], glass.microseconds())
        yield frame


# --- what the parts cost by themselves -----------------------------------------------------------


def codec(pictures: list[Any]) -> tuple[list[float], list[float]]:
    """Milliseconds to encode and to decode each picture, with nothing else to do."""
    from livepeer.trickle.media import SegmentEncoder, StreamDecoder, VideoOutput

    encoder, decoder = SegmentEncoder(VideoOutput(), None), StreamDecoder()
    encoding, decoding, decoded = [], [], 0
    for i in range(3 * len(pictures)):
        frame = VideoFrame.from_ndarray(
            pictures[i % len(pictures)], "yuv420p", time=Fraction(i, FPS)
        )
        glass.draw(frame.planes[0], glass.microseconds())
        begin = time.perf_counter()
        data = b"".join(piece.data for piece in encoder.encode(frame))
        middle = time.perf_counter()
        decoded += len(decoder.feed(data))
        encoding.append((middle - begin) * 1e3)
        decoding.append((time.perf_counter() - middle) * 1e3)
    if decoded < len(decoding) - 1:
        raise RuntimeError(f"{decoded} of {len(decoding)} pictures were decoded")
    return encoding[FPS:], decoding[FPS:]


async def _hop(url: str, count: int = 90, size: int = 24_000) -> list[float]:
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
    marks, began = found["marks"], found["began"]
    counted = [mark for mark in marks if mark[0] > began + WARM_UP * 1e6]

    def between(first: int, last: int) -> list[float]:
        return [(mark[last] - mark[first]) / 1e3 for mark in counted]

    def figures(what: str, values: list[float], of: float | None = None) -> list[str]:
        p50 = glass.percentile(values, 50)
        share = "" if of is None else f"{p50 / of:.0%}"
        return [what, f"{p50:.1f}", f"{glass.percentile(values, 95):.1f}", share]

    whole = glass_to_glass(found)
    total = glass.percentile(whole, 50)
    encoding, decoding = found["codec"]
    yield figures("glass to glass", whole, total)
    yield figures("in: client to hook", between(0, 1), total)
    yield figures("the hook", between(1, 2), total)
    yield figures("out: hook to client", between(2, 3), total)
    yield figures("client encodes *", encoding, total)
    yield figures("orchestrator, in *", found["hops"], total)
    yield figures("runner decodes *", decoding, total)
    yield figures("runner encodes *", encoding, total)
    yield figures("orchestrator, out *", found["hops"], total)
    yield figures("client decodes *", decoding, total)
    parts = 2 * sum(glass.percentile(part, 50) for part in (encoding, found["hops"], decoding))
    parts += glass.percentile(between(1, 2), 50)
    yield ["waiting (the rest)", f"{total - parts:.1f}", "", f"{1 - parts / total:.0%}"]
    yield ["starting the stream", f"{found['start'] / 1e3:.1f}", "", ""]
    first = (marks[0][3] - began) / 1e3
    yield ["first picture back, once started", f"{first:.1f}", "", ""]


def measure(seconds: float, registry: str = "byoc") -> dict[str, Any]:
    """Runs it all; the marks of each picture in microseconds, and what the parts cost."""
    with (
        glass.process(orchestrator) as one,
        glass.process(container, url := glass.told(one), registry) as two,
    ):
        glass.told(two)
        with glass.process(client, url, registry, seconds) as three:
            found: dict[str, Any] = glass.told(three, seconds + 60)
    if not found["marks"]:
        sys.exit("no picture came back")
    return found


def glass_to_glass(found: dict[str, Any]) -> list[float]:
    """Milliseconds of each picture after the first two seconds."""
    counted = [mark for mark in found["marks"] if mark[0] > found["began"] + WARM_UP * 1e6]
    return [(mark[3] - mark[0]) / 1e3 for mark in counted]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="of video")
    parser.add_argument(
        "--registry",
        choices=tuple(NAMES),
        action="append",
        help="where the pipeline registers; twice: one after the other, beside each other",
    )
    given = parser.parse_args()
    whole: list[tuple[str, list[float]]] = []
    for registry in given.registry or ["byoc"]:
        found = measure(given.seconds, registry)
        whole.append((registry, glass_to_glass(found)))
        glass.table(list(rows(found)), (f"{registry}, 720p30, ms", "p50", "p95", "share of p50"))
        print(
            f"\n{found['sent']} pictures sent, {len(found['marks'])} came back, "
            f"{found['damaged']} unreadable; {os.cpu_count()} cores. * measured by itself\n"
        )
    if len(whole) > 1:
        first = [glass.percentile(whole[0][1], share) for share in (50, 95)]
        lines = []
        for registry, values in whole:
            own = [glass.percentile(values, share) for share in (50, 95)]
            beside = [f"{mine / other:.0%}" for mine, other in zip(own, first, strict=True)]
            lines.append([registry, f"{own[0]:.1f}", f"{own[1]:.1f}", *beside])
        head = ("glass to glass, ms", "p50", "p95", f"p50 / {whole[0][0]}", f"p95 / {whole[0][0]}")
        glass.table(lines, head)


if __name__ == "__main__":
    main()
