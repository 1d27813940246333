"""How close is a live pipeline to the limit? One table: a served runner in a process of its own.

    python benchmarks/live.py [--quick] [--only hop]

A trickle server, the runner and its caller are three processes on this machine. The caller starts
the stream over HTTP as an orchestrator does.

- hop: 720p at 30 fps through an identity class, two hops. Latency is from the clock drawn into the
  picture before `write` (see glass.py) to the decoded picture that comes out, so two encodings and
  two decodings are in it. "first frame" counts from `stream/start`, channels and codecs included.
  CPU and memory are the runner's alone, which is what `serve` runs (without FastAPI), beside a
  bare PyAV script that decodes and encodes the same pictures at the same pace.
- overload: the same through a model of 50 ms; the last quarter beside the first.
- identity: 720p as fast as it goes, lossless, beside bare PyAV on one core.
- streams: how many 640x360 streams at 15 fps this machine holds. What goes in was encoded before,
  and what comes out is not decoded, so nearly all of the work is the runner's. They begin one
  after the other within a second, as callers do, so that their codecs do not all open, and their
  keyframes do not all come, in one moment. What is lost is counted from two seconds on, and
  before. Beside it bare PyAV: as many threads of one process that decode
  and encode the same pictures at the same moments, with nobody to read or write what they make,
  as many as hold by the same rule, which is the limit; and a process for each core that does so as
  fast as it goes.
- together: the same with streams that all begin, and have their keyframes, at once.
- large: the same with one stream of 1920x1080 at 60 fps.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import glass
import media

FPS = 30
HELD_MS = 100
SETTLE = 1.5
"""Seconds at the start of a run that are not measured: codecs open, connections are made."""


# --- the runner, in its own process --------------------------------------------------------------


def serve(kind: str, pipe: Any) -> None:
    import dataclasses

    from livepeer.runner import LivePipeline, VideoFrame
    from livepeer.runner.local.http import listening
    from livepeer.runner.serving.app import make_app
    from livepeer.runner.settings import Settings

    class Identity(LivePipeline):
        thread_safe = True
        capacity = 64
        realtime = kind != "lossless"

        def process_video(self, frame: VideoFrame) -> VideoFrame:
            if kind == "slow":
                time.sleep(0.05)
            return frame

    app = make_app(Identity, dataclasses.replace(Settings.from_env({}), host="127.0.0.1"))

    async def main() -> None:
        async with listening(app) as url:
            await app.state.service.lifecycle.wait_ready()
            pipe.send((int(url.rpartition(":")[2]), os.getpid()))
            await asyncio.Event().wait()  # until the process is ended

    asyncio.run(main())


class Stage:
    """The runner of one measurement and its trickle server."""

    def __init__(self, base: str, port: int, pid: int) -> None:
        import psutil

        self.base = base
        self.port = port
        self.process = psutil.Process(pid)
        self.caller = psutil.Process()

    async def start(self, name: str, http: Any) -> None:
        from livepeer.trickle import TricklePublisher

        for ending in ("", "-out", "-control", "-events"):
            channel = TricklePublisher(
                f"{self.base}/{name}{ending}", create=True, delete_on_close=False, linger=0
            )
            async with channel:
                pass
        keys = {"subscribe_url": "", "publish_url": "-out"}
        keys |= {"control_url": "-control", "events_url": "-events"}
        body = {key: f"{self.base}/{name}{ending}" for key, ending in keys.items()}
        url = f"http://127.0.0.1:{self.port}/stream/start"
        answer = await http.post(url, json=body, headers={"X-Stream-Id": name})
        answer.raise_for_status()

    def usage(self) -> tuple[float, float]:
        """CPU seconds so far, and resident MB."""
        times = self.process.cpu_times()
        return times.user + times.system, self.process.memory_info().rss / 1e6


def caller() -> Any:
    """What speaks HTTP as an orchestrator does; it keeps its connection, as one does."""
    import httpx

    return httpx.AsyncClient(trust_env=False, verify=False)


@contextmanager
def stage(kind: str) -> Any:
    with glass.process(glass.serve) as server:
        base = glass.told(server)
        with glass.process(serve, kind) as runner:
            yield Stage(base, *glass.told(runner))


# --- one stream, from glass to glass -------------------------------------------------------------


async def watch(url: str, seen: list[tuple[int, float]]) -> None:
    """Read pictures up to the end: when each was drawn, and its latency in ms."""
    from livepeer.trickle.media import MediaSubscriber

    async with MediaSubscriber(url, start=0) as frames:
        async for frame in frames:
            now = glass.microseconds()
            drawn = glass.read(frame.view()[0])
            if drawn is not None:
                seen.append((drawn, (now - drawn) / 1000))


class Glass(NamedTuple):
    """Latencies in ms but for the first moments, the first frame's in ms, the runner's usage."""

    ms: list[float]
    first: float
    cpu: float
    memory: float
    count: int


async def glass_to_glass(it: Stage, seconds: float) -> Glass:
    from livepeer.runner.live.shared import load_media

    load_media()  # the caller's own imports are not what is measured
    pictures = glass.scenery(30)
    seen: list[tuple[int, float]] = []
    async with caller() as http:
        begin = glass.microseconds()
        await it.start("s", http)
    reading = asyncio.create_task(watch(f"{it.base}/s-out", seen))
    sampling = asyncio.create_task(sample(it, SETTLE, seconds - 0.5))
    await glass.publish_live(f"{it.base}/s", pictures, seconds)
    async with asyncio.timeout(20):
        await reading
    cpu, memory = await sampling
    first = (seen[0][0] - begin) / 1000 + seen[0][1]
    settled = [ms for drawn, ms in seen if drawn > begin + SETTLE * 1e6]
    return Glass(settled, first, cpu, memory, len(seen))


async def sample(it: Stage, begin: float, end: float) -> tuple[float, float]:
    await asyncio.sleep(begin)
    before, began = it.usage()[0], time.monotonic()
    await asyncio.sleep(end - begin)
    cpu, memory = it.usage()
    return 100 * (cpu - before) / (time.monotonic() - began), memory


def hop(quick: bool) -> list[list[str]]:
    seconds = 5 if quick else 12
    with glass.process(bare_live, media.clip(seconds * FPS)) as pipe:
        bare_cpu, bare_memory = glass.told(pipe)
    with stage("identity") as it:
        ms, first, cpu, memory, count = asyncio.run(glass_to_glass(it, seconds))
    return [
        limit("720p30 identity, two hops, p50 ms", glass.percentile(ms, 50), 40),
        limit("720p30 identity, two hops, p95 ms", glass.percentile(ms, 95), 60),
        limit("first frame after stream/start, ms", first, 300),
        [
            "pictures that came out",
            f"{count} of {seconds * FPS}",
            "",
            "",
            "",
        ],
        beside("runner, CPU % of a core", cpu, bare_cpu, "≤ 20 %", cpu <= 20),
        beside("runner, RSS MB", memory, bare_memory, "≤ 1.25×", memory <= 1.25 * bare_memory),
    ]


def bare_live(data: bytes, pipe: Any) -> None:
    """Decode and encode the clip at its own pace with PyAV alone."""
    import av

    begin, cpu, count = 0.0, 0.0, 0
    with (
        av.open(io.BytesIO(data), format="mpegts") as source,
        open(os.devnull, "wb") as null,
        av.open(null, "w", format="mpegts") as sink,
    ):
        source.streams.video[0].codec_context.thread_count = 1
        stream = media.bare_stream(sink)
        first = time.monotonic()
        for frame in source.decode(video=0):
            time.sleep(max(0.0, first + count / FPS - time.monotonic()))
            frame.pict_type = 0
            sink.mux(stream.encode(frame))
            count += 1
            if count == FPS:
                begin, cpu = time.monotonic(), time.process_time()
        used = 100 * (time.process_time() - cpu) / (time.monotonic() - begin)
        pipe.send((used, glass.resident_mb()))


def overload(quick: bool) -> list[list[str]]:
    seconds = 8 if quick else 16
    with stage("slow") as it:
        ms, _, _, memory, count = asyncio.run(glass_to_glass(it, seconds))
    quarter = len(ms) // 4
    begin, end = (glass.percentile(part, 95) for part in (ms[:quarter], ms[-quarter:]))
    return [
        limit("50 ms model on 30 fps, p95 ms", glass.percentile(ms, 95), 150),
        beside("its last quarter beside its first, p95 ms", end, begin, "flat", end <= begin * 1.3),
        ["pictures a second that came out", f"{count / seconds:.1f}", "", "", ""],
        ["its RSS, MB", f"{memory:.0f}", "", "", ""],
    ]


# --- what was encoded before ---------------------------------------------------------------------


def encoded(count: int, fps: int, width: int, height: int) -> list[tuple[bytes, bool]]:
    """For each picture its bytes of a transport stream, and whether they begin a segment."""
    from livepeer.trickle.media import VideoFrame, VideoOutput
    from livepeer.trickle.media.codec.encoder import SegmentEncoder

    pictures = glass.scenery(min(count, 60), width, height)
    encoder = SegmentEncoder(VideoOutput(fps=fps), None)
    result = []
    for i in range(count):
        picture = pictures[i % len(pictures)]
        frame = VideoFrame.from_ndarray(picture, "yuv420p", time=Fraction(i, fps))
        pieces = encoder.encode(frame)
        data = b"".join(piece.data for piece in pieces)
        result.append((data, any(piece.new_segment for piece in pieces)))
    return result


async def send(
    url: str,
    clip: Sequence[tuple[bytes, bool]],
    wait: Callable[[int], Any],
    sent: dict[int, float],
) -> None:
    """Publish the pieces; `wait(i)` is awaited before the i-th, `sent` is when each left."""
    from livepeer.trickle import TricklePublisher

    async with TricklePublisher(url, linger=0.3) as publisher:
        segment = None
        for i, (data, new) in enumerate(clip):
            await wait(i)
            if new or segment is None:
                if segment is not None:
                    await segment.aclose()
                segment = publisher.segment()
                await segment.__aenter__()
            sent[i] = time.monotonic()
            await segment.write(data)
        if segment is not None:
            await segment.aclose()


async def arrivals(url: str, fps: int, came: dict[int, float]) -> None:
    """When each picture came out, by its number; nothing is decoded."""
    from livepeer.trickle.media import MediaSubscriber

    origin = None
    async with MediaSubscriber(url, start=0, policy="all", video="packets") as packets:
        async for packet in packets:
            origin = packet.time if origin is None else origin
            came[round((packet.time - origin) * fps)] = time.monotonic()


def identity(quick: bool) -> list[list[str]]:
    count = 120 if quick else 450
    clip = encoded(count, FPS, 1280, 720)
    data = b"".join(piece for piece, _ in clip)
    media.identity_bare(data)  # warm
    began, cpu_began = time.monotonic(), time.process_time()
    bare_count = media.identity_bare(data)
    bare = bare_count / (time.monotonic() - began)
    bare_cpu = bare_count / (time.process_time() - cpu_began)

    async def main(it: Stage) -> tuple[float, float, int]:
        async with caller() as http:
            await it.start("s", http)
        sent: dict[int, float] = {}
        came: dict[int, float] = {}
        reading = asyncio.create_task(arrivals(f"{it.base}/s-out", FPS, came))

        async def near(i: int) -> None:
            # The ring of a trickle server holds four segments.
            while i - len(came) > FPS * 3:  # noqa: ASYNC110 — another task's list
                await asyncio.sleep(0.001)

        before = it.usage()[0]
        async with asyncio.timeout(60):
            await send(f"{it.base}/s", clip, near, sent)
            await reading
        used = it.usage()[0] - before
        steady = sorted(came.values())
        half = len(steady) // 4
        rate = (len(steady) - half - 1) / (steady[-1] - steady[half])
        return rate, len(came) / used, len(came)

    with stage("lossless") as it:
        ours, per_cpu, whole = asyncio.run(main(it))
    return [
        beside("identity 720p, fps", ours, bare, "≥ 0.9×", ours >= 0.9 * bare),
        beside("identity 720p, pictures per CPU second", per_cpu, bare_cpu, "", True),
        ["pictures that came out", f"{whole} of {count}", "", "", ""],
    ]


class Load(NamedTuple):
    """Latencies in ms, pictures that never came in the first moments and later, and what was taken
    of a core, in %: by the runner, by its caller and the server, and by what has nothing to do with
    this; the runner's MB."""

    ms: list[float]
    early: int
    lost: int
    runner: float
    others: float
    elsewhere: float
    memory: float


SMALL = (1, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80)
"""So many streams are tried, one number after the other."""


def streams(
    quick: bool,
    *,
    together: bool = False,
    size: tuple[int, int] = (640, 360),
    fps: int = 15,
    counts: Sequence[int] = SMALL,
) -> list[list[str]]:
    seconds = 6 if quick else 10
    clip = encoded(fps * seconds, fps, *size)
    bare = bare_rate(clip) / fps
    spread = 1 / fps if together else 1.0

    async def one(it: Stage, name: str, begin: float) -> tuple[list[float], int, int]:
        sent: dict[int, float] = {}
        came: dict[int, float] = {}
        reading = asyncio.create_task(arrivals(f"{it.base}/{name}-out", fps, came))

        async def due(i: int) -> None:
            await asyncio.sleep(begin + i / fps - time.monotonic())

        await send(f"{it.base}/{name}", clip, due, sent)
        async with asyncio.timeout(20):
            await reading
        missed = [i >= 2 * fps for i in range(len(clip)) if i not in came]
        latencies = [1000 * (came[i] - sent[i]) for i in came if i >= 2 * fps]
        return latencies, missed.count(False), missed.count(True)

    async def many(it: Stage, count: int) -> Load:
        empty = it.usage()[1]
        async with caller() as http:
            for k in range(count):
                await it.start(f"n{k}", http)
        begin = time.monotonic() + 1.0
        sampling = asyncio.create_task(shares(it, 4.0, seconds))
        found = await asyncio.gather(
            *(one(it, f"n{k}", begin + k / count * spread) for k in range(count))
        )
        runner, others, elsewhere, memory = await sampling
        ms = [latency for latencies, _, _ in found for latency in latencies]
        early, lost = (sum(each[i] for each in found) for i in (1, 2))
        return Load(ms, early, lost, runner, others, elsewhere, memory - empty)

    rows: list[list[str]] = []
    held: dict[str, int] = {}
    over: set[str] = set()
    name = " at once" if together else ""
    for count in counts:
        row = [f"{size[1]}p{fps} × {count}{name}: p50 / p95 ms", "", "", "", ""]
        rows.append(row)
        if "bare" not in over:
            with glass.process(bare_threads, clip, size, fps, count, spread) as pipe:
                bare_ms, bare_share = glass.told(pipe)
            p50, p95 = glass.percentile(bare_ms, 50), glass.percentile(bare_ms, 95)
            _judge("bare", count, p95 <= HELD_MS, held, over)
            row[2] = f"{p50:.0f} / {p95:.0f}, CPU {bare_share:.0f} %"
        if "ours" in over:
            if "bare" in over:
                break
            continue
        with stage("identity") as it:
            load = asyncio.run(many(it, count))
        p50, p95 = glass.percentile(load.ms, 50), glass.percentile(load.ms, 95)
        fits = p95 <= HELD_MS and not load.lost
        _judge("ours", count, fits, held, over)
        lost = f", {load.lost} lost" if load.lost else ""
        lost += f", {load.early} as they began" if load.early else ""
        # With these the figure says nothing of ours.
        others = f"caller and server {load.others:.0f} %"
        others += f", elsewhere {load.elsewhere:.0f} %"
        row[1] = f"{p50:.0f} / {p95:.0f}{lost}"
        row[3] = (
            f"CPU: runner {load.runner:.0f} %, {others}; "
            f"each {load.runner / count:.1f} %, {load.memory / count:.0f} MB"
        )
        row[4] = "held" if fits else "not held"
    cores = len(os.sched_getaffinity(0))
    ours, limit = (
        f"{held.get(who, 0)}{'' if who in over else ' or more'}" for who in ("ours", "bare")
    )
    holds = [
        f"{size[1]}p{fps} streams{name} held by {cores} cores",
        ours,
        f"{limit} paced, in threads; {bare:.0f} by CPU time, never idle",
    ]
    return [*rows, [*holds, "p95 ≤ 100 ms, none lost", ""]]


def _judge(who: str, count: int, fits: bool, held: dict[str, int], over: set[str]) -> None:
    """Whether `who` holds so many streams; the first number that it does not is its limit."""
    if fits:
        held[who] = count
    else:
        over.add(who)


async def shares(it: Stage, begin: float, end: float) -> tuple[float, float, float, float]:
    """What the runner, the caller with its server, and all else take of a core, in %; the runner's
    MB."""
    import psutil

    def others() -> float:
        rest = [one for one in it.caller.children() if one.pid != it.process.pid]
        times = [one.cpu_times() for one in (it.caller, *rest)]
        return sum(each.user + each.system for each in times)

    def machine() -> float:
        times = psutil.cpu_times()
        return float(sum(times) - times.idle - times.iowait)

    await asyncio.sleep(begin)
    before, beside_before, all_before = it.usage()[0], others(), machine()
    began = time.monotonic()
    await asyncio.sleep(end - begin)
    (cpu, memory), beside_after, all_after = it.usage(), others(), machine()
    took = (time.monotonic() - began) / 100
    runner, caller = (cpu - before) / took, (beside_after - beside_before) / took
    return runner, caller, (all_after - all_before) / took - runner - caller, memory


def bare_rate(clip: Sequence[tuple[bytes, bool]]) -> float:
    """Pictures a second that a PyAV loop in a process for each core decodes and encodes."""
    data = b"".join(piece for piece, _ in clip)
    with ExitStack() as stack:
        cores = range(len(os.sched_getaffinity(0)))
        pipes = [stack.enter_context(glass.process(bare_loop, data)) for _ in cores]
        for pipe in pipes:
            glass.told(pipe)
        for pipe in pipes:
            pipe.send("go")
        return sum(glass.told(pipe) for pipe in pipes)


def bare_threads(
    clip: Sequence[tuple[bytes, bool]],
    size: tuple[int, int],
    fps: int,
    count: int,
    spread: float,
    pipe: Any,
) -> None:
    """`count` threads with bare PyAV, at the clip's own pace: latencies in ms, CPU in % of a core.

    The first one begins at once, the others within `spread` seconds; two seconds are not counted.
    """
    import threading

    import av

    data = b"".join(piece for piece, _ in clip)
    with av.open(io.BytesIO(data), format="mpegts") as source:
        packets = [(bytes(one), one.is_keyframe) for one in source.demux(video=0) if one.size]
    ms: list[float] = []
    cpu = [0.0] * count
    begin = time.monotonic() + 0.5

    def run(k: int) -> None:
        decoder: Any = av.CodecContext.create("h264", "r")
        decoder.thread_count = 1
        with av.open(io.BytesIO(), "w", format="mpegts") as sink:
            stream = media.bare_stream(sink)
            stream.width, stream.height = size
            for i, (packet, key) in enumerate(packets):
                due = begin + k / count * spread + i / fps
                time.sleep(max(0.0, due - time.monotonic()))
                if i == 2 * fps:
                    cpu[k] = -time.thread_time()
                for frame in decoder.decode(av.Packet(packet)):
                    # One tick of its clock each, which is set to another rate.
                    frame.pts, frame.time_base = i, Fraction(1, media.FPS)
                    frame.pict_type = 1 if key else 0
                    sink.mux(stream.encode(frame))
                if i >= 2 * fps:
                    ms.append(1000 * (time.monotonic() - due))
            cpu[k] += time.thread_time()
            sink.mux(stream.encode(None))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send((ms, 100 * sum(cpu) / (len(clip) / fps - 2)))


def bare_loop(data: bytes, pipe: Any) -> None:
    """As `media.identity_bare`, at the size of the clip; in CPU seconds, since it is never idle."""
    import av

    pipe.send("ready")
    pipe.recv()
    count, began = 0, time.process_time()
    while time.process_time() - began < 3:
        with (
            av.open(io.BytesIO(data), format="mpegts") as source,
            av.open(io.BytesIO(), "w", format="mpegts") as sink,
        ):
            picture = source.streams.video[0]
            picture.codec_context.thread_count = 1
            stream = media.bare_stream(sink)
            stream.width, stream.height = picture.width, picture.height
            for frame in source.decode(video=0):
                frame.pts, frame.time_base = count, Fraction(1, media.FPS)
                frame.pict_type = 0
                sink.mux(stream.encode(frame))
                count += 1
            sink.mux(stream.encode(None))
    pipe.send(count / (time.process_time() - began))


# --- the table -----------------------------------------------------------------------------------


def limit(what: str, value: float, most: float) -> list[str]:
    return [what, f"{value:.1f}", "", f"≤ {most:g}", "met" if value <= most else "MISSED"]


def beside(what: str, ours: float, bare: float, goal: str, met: bool) -> list[str]:
    verdict = ("met" if met else "MISSED") if goal else ""
    return [what, f"{ours:.1f}", f"{bare:.1f} ({ours / bare:.2f}×)", goal, verdict]


PARTS: dict[str, Callable[[bool], list[list[str]]]] = {
    "hop": hop,
    "overload": overload,
    "identity": identity,
    "streams": streams,
    "together": partial(streams, together=True),
    "large": partial(streams, size=(1920, 1080), fps=60, counts=(1,)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Live pipelines, beside bare PyAV.")
    parser.add_argument("--quick", action="store_true", help="shorter runs, rougher figures")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be repeated")
    options = parser.parse_args()
    rows: list[list[str]] = []
    for name in options.only or PARTS:
        rows += PARTS[name](options.quick)
    glass.table(rows, ("what", "ours", "beside", "goal", ""))
    missed = [row[0] for row in rows if row[4] == "MISSED"]
    goals = len(missed) + sum(row[4] == "met" for row in rows)
    print(
        f"\n{goals - len(missed)} of {goals} goals met" + "".join(f"; missed: {m}" for m in missed)
    )


if __name__ == "__main__":
    main()
