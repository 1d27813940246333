"""How close is `livepeer.trickle.media` to the limit? One table, ours beside bare PyAV.

    python benchmarks/media.py [--quick | --full] [--only hop]

- identity: decode, hand on, encode, mux 1280x720 as fast as it goes, pinned to one core; bare PyAV
  does the same with FFmpeg's demuxer and muxer and the same settings of x264. Rounds take turns and
  are compared pairwise; frames are counted for each second of CPU time, so that others on the
  machine do not decide.
- hop: a publisher, a server and a subscriber, three processes, 720p at 30 fps in real time.
  Latency is read from a clock drawn into the picture just before `write` (see glass.py), so
  encoding, both network legs and decoding are in it. "first frame" counts from before the
  publisher connects; that of a late reader from before it connects.
- overload: the same with 50 ms of work for each frame; the last quarter beside the first.
- relay: bytes a second of `livepeer.trickle.relay` beside a bare aiohttp loop of GET and POST.
- live identity: a 720p30 stream through one process: CPU and memory beside a bare PyAV script.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import resource
import statistics
import time
from collections.abc import Callable
from enum import IntEnum
from fractions import Fraction
from typing import Any

import glass


class Run(IntEnum):
    """How long each part takes."""

    QUICK, USUAL, FULL = range(3)

    def of(self, quick: int, usual: int, full: int) -> int:
        return (quick, usual, full)[self]


FPS = 30
CHUNK = 16 * 1024


# --- identity ------------------------------------------------------------------------------------


def clip(count: int) -> bytes:
    """`count` pictures as a transport stream, by bare PyAV."""
    import av

    target = io.BytesIO()
    pictures = glass.scenery(60)
    with av.open(target, "w", format="mpegts") as container:
        stream: Any = bare_stream(container)
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(pictures[i % 60], format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue()


def bare_stream(container: Any) -> Any:
    options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}
    # As a live stream needs them, and as ours are: a delimiter for each picture, even GOPs.
    options |= {"aud": "1", "forced-idr": "1", "sc_threshold": "0"}
    stream = container.add_stream("libx264", FPS, options=options)
    stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
    stream.codec_context.gop_size = FPS
    stream.codec_context.thread_count = 1
    return stream


def identity_bare(data: bytes) -> int:
    import av

    count = 0
    with (
        av.open(io.BytesIO(data), format="mpegts") as source,
        av.open(io.BytesIO(), "w", format="mpegts") as sink,
    ):
        source.streams.video[0].codec_context.thread_count = 1
        stream = bare_stream(sink)
        for frame in source.decode(video=0):
            frame.pict_type = 0
            sink.mux(stream.encode(frame))
            count += 1
        sink.mux(stream.encode(None))
    return count


def identity_ours(data: bytes) -> int:
    from livepeer.trickle.media import SegmentEncoder, StreamDecoder, VideoOutput

    decoder = StreamDecoder(threads=1)
    encoder = SegmentEncoder(VideoOutput(codec="libx264", threads=1), None)
    sink = io.BytesIO()
    for at in range(0, len(data), CHUNK):
        for frame in decoder.feed(data[at : at + CHUNK]):
            for piece in encoder.encode(frame):
                sink.write(piece.data)
    for frame in decoder.flush():
        for piece in encoder.encode(frame):
            sink.write(piece.data)
    return encoder.stats.encoded


def _identity(rounds: int, count: int, pipe: Any) -> None:
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    data = clip(count)
    speeds: dict[str, list[float]] = {"ours": [], "bare": []}
    order = [("bare", identity_bare), ("ours", identity_ours)]
    for _, run in order:
        # Imports and first allocations are no frame's.
        run(data)
    for i in range(rounds):
        for name, run in order if i % 2 else reversed(order):
            begin = time.process_time()
            done = run(data)
            speeds[name].append(done / (time.process_time() - begin))
            if done != count:
                raise RuntimeError(f"{name} gave {done} of {count} frames")
    pipe.send((speeds["ours"], speeds["bare"]))


def identity(run: Run) -> list[list[str]]:
    with glass.process(_identity, run.of(3, 15, 25), run.of(150, 200, 300)) as pipe:
        ours, bare = glass.told(pipe, 200)
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    mine, theirs = statistics.median(ours), statistics.median(bare)
    return [
        [
            "identity 720p, one core, fps",
            f"{mine:.1f}",
            f"{theirs:.1f}",
            f"{ratio:.3f}",
            "≥ 0.95 of bare",
            _verdict(ratio >= 0.95),
        ]
    ]


# --- one hop -------------------------------------------------------------------------------------


def _subscribe(url: str, work: float, start: str, pipe: Any) -> None:
    """Read marks until the channel ends; tell latencies in ms, arrival, memory."""
    from livepeer.trickle import ChannelNotFound
    from livepeer.trickle.media import MediaSubscriber

    async def main() -> None:
        latencies: list[float] = []
        memory: list[float] = []
        first = lost = 0
        pipe.send("ready")
        begin = glass.microseconds()
        while True:
            try:
                async with MediaSubscriber(url, start=start) as frames:
                    async for frame in frames:
                        if work:
                            await asyncio.sleep(work)
                        mark = glass.read(frame.view()[0])
                        now = glass.microseconds()
                        first = first or now
                        lost += mark is None
                        if mark is not None:
                            latencies.append((now - mark) / 1000)
                        if len(latencies) % 15 == 1:
                            memory.append(glass.resident_mb())
                    stats = frames.stats
                break
            except ChannelNotFound:
                await asyncio.sleep(0.005)
                begin = glass.microseconds()
        pipe.send((latencies, begin, first, lost, memory, stats.dropped))

    asyncio.run(main())


def _publish(url: str, seconds: float, pipe: Any) -> None:
    pictures = glass.scenery(60)
    pipe.send("ready")
    pipe.recv()
    pipe.send(asyncio.run(glass.publish_live(url, pictures, seconds)))


def _hop(name: str, seconds: float, work: float = 0.0) -> tuple[Any, Any, Any]:
    """One live stream: what an early reader saw, what a late one saw, the publisher's own."""
    from livepeer.trickle import TricklePublisher

    async def create(url: str) -> None:
        async with TricklePublisher(url, create=True, delete_on_close=False, linger=0):
            pass

    with glass.process(glass.serve) as server:
        url = f"{glass.told(server)}/{name}"
        asyncio.run(create(url))
        with (
            glass.process(_publish, url, seconds) as publisher,
            glass.process(_subscribe, url, work, "next") as early,
        ):
            glass.told(publisher)
            glass.told(early)
            time.sleep(1.0)
            publisher.send("go")
            late_seen = None
            if not work:
                with glass.process(_subscribe, url, 0.0, "current") as late:
                    glass.told(late)
                    late_seen = glass.told(late)
            return glass.told(early), late_seen, glass.told(publisher)


def hop(run: Run) -> list[list[str]]:
    seconds = run.of(5, 10, 20)
    seen, late, (stats, begin) = _hop("hop", seconds)
    latencies, _, first, lost, _, dropped = seen
    if lost or len(latencies) != seconds * FPS:
        print(f"hop: {len(latencies)} of {seconds * FPS} read, {lost} damaged, {dropped} dropped")
    rows = [
        _limit("hop 720p30 glass to glass, p50 ms", glass.percentile(latencies, 50), 15),
        _limit("hop 720p30 glass to glass, p95 ms", glass.percentile(latencies, 95), 25),
        _limit("hop first frame after start, ms", (first - begin) / 1000, 150),
        _limit("hop first frame of a late reader, ms", (late[2] - late[1]) / 1000, 150),
    ]
    encode = stats.encode_seconds / stats.frames * 1000
    rows.append(["of that, encoding and muxing, mean ms", f"{encode:.2f}", "", "", "", ""])
    return rows


def overload(run: Run) -> list[list[str]]:
    (latencies, _, _, _, memory, dropped), _, _ = _hop("overload", run.of(8, 12, 20), 0.05)
    quarter = len(latencies) // 4
    begin, end = latencies[5:quarter], latencies[-quarter:]
    growth = memory[-1] - memory[len(memory) // 3]
    ratio = glass.percentile(end, 50) / glass.percentile(begin, 50)
    return [
        _limit("overload, 50 ms a frame, p95 ms", glass.percentile(latencies[5:], 95), 150),
        _limit("overload, last quarter to first, p50", ratio, 1.2),
        ["overload, memory grown, MB; dropped", f"{growth:.1f}; {dropped}", "", "", "flat", ""],
    ]


# --- relay ---------------------------------------------------------------------------------------


async def relay_bare(source: str, sink: str, count: int) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session:
        for seq in range(count):
            async with session.get(f"{source}/{seq}") as answer:
                body = answer.content.iter_any()
                async with session.post(f"{sink}/{seq}", data=body) as done:
                    done.raise_for_status()


async def relay_ours(source: str, sink: str, count: int) -> None:
    from livepeer.trickle.relay import relay

    await relay(source, sink, start=0)


async def _arrived(sink: str, count: int) -> None:
    """Wait until `sink` has `count` segments: nobody begins one before the last is acknowledged."""
    import aiohttp

    async with aiohttp.ClientSession() as session:
        latest = 0
        while latest < count:
            await asyncio.sleep(0.002)
            async with session.get(f"{sink}/next") as answer:
                latest = int(await answer.text())


def _relay(ours: bool, source: str, sink: str, count: int, pipe: Any) -> None:
    """Copy in a process that does nothing else; tells seconds and seconds of CPU."""

    async def main() -> None:
        copy = relay_ours if ours else relay_bare
        pipe.send("ready")
        pipe.recv()
        begin, cpu = time.perf_counter(), time.process_time()
        task = asyncio.create_task(copy(source, sink, count))
        await _arrived(sink, count)
        pipe.send((time.perf_counter() - begin, time.process_time() - cpu))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    import aiohttp  # noqa: F401  # neither pays for its imports

    import livepeer.trickle.relay  # noqa: F401

    asyncio.run(main())


def relay(run: Run) -> list[list[str]]:
    from livepeer.trickle import TricklePublisher

    # With the mark and the next one, which is opened ahead: as many as a channel keeps.
    count, size = 3, run.of(8, 32, 32) << 20

    async def source(url: str) -> None:
        async with TricklePublisher(url, create=True, delete_on_close=False, linger=0) as publisher:
            for length in (*[size] * count, 1):
                async with publisher.segment() as segment:
                    await segment.write(bytes(length))
                await segment.acknowledged()

    async def sink(url: str) -> None:
        async with TricklePublisher(url, create=True, delete_on_close=False, linger=0):
            pass

    seen: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for i in range(run.of(4, 10, 20)):
        # A server for each round: both sides of a pair meet the same memory.
        with glass.process(glass.serve) as server:
            url = glass.told(server)
            asyncio.run(source(f"{url}/from"))
            for ours in (False, True) if i % 2 else (True, False):
                asyncio.run(sink(f"{url}/to-{ours}"))
                arguments = (ours, f"{url}/from", f"{url}/to-{ours}", count + 1)
                with glass.process(_relay, *arguments) as pipe:
                    glass.told(pipe)
                    pipe.send("go")
                    seen[ours].append(glass.told(pipe))
    megabytes = count * size / 1e6
    speeds = {ours: [megabytes / seconds for seconds, _ in rounds] for ours, rounds in seen.items()}
    mine, bare = (statistics.median(speeds[ours]) for ours in (True, False))
    ratio = statistics.median(a / b for a, b in zip(speeds[True], speeds[False], strict=True))
    cpu = {
        ours: statistics.median(cpu for _, cpu in rounds) / megabytes * 1e5
        for ours, rounds in seen.items()
    }
    slowest = min(speeds[True]), min(speeds[False])
    return [
        [
            "relay, MB/s",
            *(f"{mine:.0f}", f"{bare:.0f}", f"{ratio:.2f}", "≥ 0.8 of bare"),
            _verdict(ratio >= 0.8),
        ],
        ["its slowest round, MB/s", *(f"{speed:.0f}" for speed in slowest), "", "", ""],
        [
            "its CPU, ms for 100 MB",
            *(f"{cpu[True]:.0f}", f"{cpu[False]:.0f}", f"{cpu[True] / cpu[False]:.2f}", "", ""),
        ],
    ]


# --- live identity -------------------------------------------------------------------------------


def _usage(begin: float, cpu: float) -> tuple[float, float]:
    now = time.process_time()
    return (now - cpu) / (time.monotonic() - begin) * 100, glass.resident_mb()


def _live_ours(source: str, sink: str, pipe: Any) -> None:
    from livepeer.trickle import TricklePublisher
    from livepeer.trickle.media import MediaPublisher, MediaSubscriber

    async def main() -> None:
        count = 0
        begin = cpu = 0.0
        carrier = TricklePublisher(sink, create=True, linger=0)
        async with (
            MediaSubscriber(source, start="current") as frames,
            MediaPublisher(sink, publisher=carrier) as publisher,
        ):
            pipe.send("ready")
            async for frame in frames:
                await publisher.write(frame)
                count += 1
                if count == FPS:
                    begin, cpu = time.monotonic(), time.process_time()
            pipe.send((*_usage(begin, cpu), count))

    asyncio.run(main())


def _live_bare(data: bytes, pipe: Any) -> None:
    import av

    begin, cpu, count = 0.0, 0.0, 0
    pipe.send("ready")
    with (
        av.open(io.BytesIO(data), format="mpegts") as source,
        open(os.devnull, "wb") as null,
        av.open(null, "w", format="mpegts") as sink,
    ):
        source.streams.video[0].codec_context.thread_count = 1
        stream = bare_stream(sink)
        first = time.monotonic()
        for frame in source.decode(video=0):
            time.sleep(max(0.0, first + count / FPS - time.monotonic()))
            frame.pict_type = 0
            sink.mux(stream.encode(frame))
            count += 1
            if count == FPS:
                begin, cpu = time.monotonic(), time.process_time()
        pipe.send((*_usage(begin, cpu), count))


def live(run: Run) -> list[list[str]]:
    seconds = run.of(5, 10, 20)
    with glass.process(_live_bare, clip(seconds * FPS)) as pipe:
        glass.told(pipe)
        bare = glass.told(pipe)
    from livepeer.trickle import TricklePublisher

    async def create(url: str) -> None:
        async with TricklePublisher(url, create=True, delete_on_close=False, linger=0):
            pass

    with glass.process(glass.serve) as server:
        url = glass.told(server)
        asyncio.run(create(f"{url}/in"))
        with (
            glass.process(_publish, f"{url}/in", seconds) as publisher,
            glass.process(_live_ours, f"{url}/in", f"{url}/out") as pipe,
        ):
            glass.told(publisher)
            glass.told(pipe)
            publisher.send("go")
            ours = glass.told(pipe)
    cpu, memory = ours[0] / bare[0], ours[1] / bare[1]
    return [
        _figures("live identity, CPU % of a core", ours[0], bare[0], "≤ 20 %", ours[0] <= 20),
        _figures("live identity, RSS MB", ours[1], bare[1], "≤ 1.25 of bare", memory <= 1.25),
        [
            "frames passed on; CPU beside bare",
            f"{ours[2]} of {seconds * FPS}",
            "",
            f"{cpu:.2f}",
            "",
            "",
        ],
    ]


# --- the table -----------------------------------------------------------------------------------


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def _row(what: str, ours: float, bare: float, ratio: float, goal: str, least: float) -> list[str]:
    return _figures(what, ours, bare, goal, ratio >= least)


def _figures(what: str, ours: float, bare: float, goal: str, met: bool) -> list[str]:
    return [what, f"{ours:.1f}", f"{bare:.1f}", f"{ours / bare:.2f}", goal, _verdict(met)]


def _limit(what: str, value: float, most: float) -> list[str]:
    return [what, f"{value:.2f}", "", "", f"≤ {most:g}", _verdict(value <= most)]


PARTS: dict[str, Callable[[Run], list[list[str]]]] = {
    "identity": identity,
    "hop": hop,
    "overload": overload,
    "relay": relay,
    "live": live,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="shorter, rougher")
    length.add_argument("--full", action="store_true", help="20 s of each live part, more rounds")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; repeatable")
    arguments = parser.parse_args()
    run = Run.QUICK if arguments.quick else Run.FULL if arguments.full else Run.USUAL
    rows: list[list[str]] = []
    for name in arguments.only or PARTS:
        rows += PARTS[name](run)
    glass.table(rows, ("what", "ours", "bare", "ratio", "goal", "verdict"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"\n{os.cpu_count()} cores; this process peaked at {peak:.0f} MB")


if __name__ == "__main__":
    main()
