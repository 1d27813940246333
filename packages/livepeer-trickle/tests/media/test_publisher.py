"""MediaPublisher against a real server, through a network that stalls and breaks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from livepeer.trickle.exceptions import ChannelClosed, ChannelNotFound, TrickleError
from livepeer.trickle.media import (
    AudioFrame,
    AudioOutput,
    MediaPublisher,
    StreamDecoder,
    VideoFrame,
    VideoOutput,
)
from livepeer.trickle.publisher import TricklePublisher
from livepeer.trickle.server import TrickleServer
from livepeer.trickle.subscriber import TrickleSubscriber
from livepeer.trickle.types import Timeouts

LIMIT = 20.0
SMALL = (96, 160)


def frame(index: int, size: tuple[int, int] = SMALL, fps: int = 30) -> VideoFrame:
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    luma = (128 + 100 * np.sin((x + y + 7 * index) / 20)).astype(np.uint8)
    return VideoFrame.from_ndarray(luma, "gray", time=1 + Fraction(index, fps))


def noise(index: int) -> VideoFrame:
    """A frame that becomes some 100 KB, so that a stalled network fills up soon."""
    rng = np.random.default_rng(index)
    array = rng.integers(0, 255, (480, 640), np.uint8)
    return VideoFrame.from_ndarray(array, "gray", time=1 + Fraction(index, 30))


def sound(index: int) -> AudioFrame:
    return AudioFrame.from_ndarray(
        np.zeros((2, 1600), np.float32), rate=48_000, time=1 + Fraction(index, 30)
    )


def decoded(segment: bytes) -> list[VideoFrame]:
    decoder = StreamDecoder(audio="drop")
    items = [*decoder.feed(segment), *decoder.end_segment(), *decoder.flush()]
    assert decoder.stats.lost_packets == 0
    return [item for item in items if isinstance(item, VideoFrame)]


@pytest.fixture
async def server() -> AsyncIterator[TrickleServer]:
    # As an orchestrator's: a channel that was deleted does not come back by itself.
    async with TrickleServer(autocreate=False) as running:
        yield running


class Reader:
    """Reads a channel to its end, whole segments."""

    def __init__(self, url: str) -> None:
        self.segments: list[bytes] = []
        self._task = asyncio.create_task(self._read(url))

    async def _read(self, url: str) -> None:
        async with TrickleSubscriber(url, start=0) as subscriber:
            async for segment in subscriber:
                data = b""
                with contextlib.suppress(TrickleError):
                    data = await segment.read()
                self.segments.append(data)

    async def finished(self) -> list[bytes]:
        async with asyncio.timeout(LIMIT):
            await self._task
        return self.segments


class Network:
    """A TCP road to a server that can be blocked, opened and cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = asyncio.Event()
        self._open.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Network:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 14)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        for pipe in (self._pipe(reader, back, held=True), self._pipe(there, writer, held=False)):
            task = asyncio.create_task(pipe)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pipe(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, held: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(1 << 14):
                if held:
                    await self._open.wait()
                target.write(data)
                await target.drain()
        with contextlib.suppress(ConnectionError):
            target.close()

    def block(self) -> None:
        self._open.clear()

    def clear(self) -> None:
        self._open.set()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


def through(network: Network, url: str, port: int) -> str:
    return url.replace(f":{port}/", f":{network.port}/")


def port_of(server: TrickleServer) -> int:
    return int(server.url.split("//")[1].split("/")[0].split(":")[1])


async def test_every_frame_arrives_the_last_one_included_and_the_channel_ends(
    server: TrickleServer,
) -> None:
    url = server.channel_url("all")
    server.create("all")
    reader = Reader(url)
    async with MediaPublisher(url, expect=["audio"]) as publisher:
        for i in range(75):
            await publisher.write(frame(i))
            await publisher.write(sound(i))
    segments = await reader.finished()
    assert [len(decoded(segment)) for segment in segments] == [30, 30, 15]
    times = [f.time for segment in segments for f in decoded(segment)]
    assert times == [1 + Fraction(i, 30) for i in range(75)]
    assert publisher.stats.frames == 150
    assert publisher.stats.transport.segments == 3
    assert server.get("all") is None


async def test_a_frame_can_be_read_before_the_next_one_is_written(server: TrickleServer) -> None:
    url = server.channel_url("now")
    server.create("now")
    arrived: asyncio.Queue[VideoFrame] = asyncio.Queue()

    async def read() -> None:
        decoder = StreamDecoder()
        async with TrickleSubscriber(url, start=0) as subscriber:
            async for segment in subscriber:
                async for chunk in segment:
                    for item in decoder.feed(chunk):
                        assert isinstance(item, VideoFrame)
                        arrived.put_nowait(item)

    task = asyncio.create_task(read())
    async with MediaPublisher(url) as publisher:
        for i in range(40):
            await publisher.write(frame(i))
            async with asyncio.timeout(LIMIT):
                assert (await arrived.get()).time == 1 + Fraction(i, 30)
    async with asyncio.timeout(LIMIT):
        await task


async def test_sound_and_pictures_may_be_written_by_two_tasks(server: TrickleServer) -> None:
    url = server.channel_url("two")
    server.create("two")
    reader = Reader(url)
    async with MediaPublisher(url) as publisher:

        async def write(make: Any) -> None:
            for i in range(60):
                await publisher.write(make(i))

        await asyncio.gather(write(frame), write(sound))
    assert sum(len(decoded(s)) for s in await reader.finished()) == 60


async def test_opening_a_channel_that_is_not_there_says_so(server: TrickleServer) -> None:
    with pytest.raises(ChannelNotFound):
        async with MediaPublisher(server.channel_url("none")):
            pass
    assert not encoding_threads()


async def test_writing_to_a_channel_that_was_deleted_raises_and_leaves_nothing_behind(
    orchestrator: TrickleServer,
) -> None:
    server = orchestrator
    url = server.channel_url("gone")
    server.create("gone")
    with pytest.raises(TrickleError):
        async with MediaPublisher(url, output=VideoOutput(gop_seconds=0.1)) as publisher:
            await publisher.write(frame(0))
            await server.close_channel("gone")
            async with asyncio.timeout(LIMIT):
                for i in range(1, 2000):
                    await publisher.write(frame(i))
    assert not encoding_threads()


async def test_an_error_that_no_write_could_tell_is_raised_at_the_end(
    orchestrator: TrickleServer,
) -> None:
    server = orchestrator
    url = server.channel_url("late")
    server.create("late")
    with pytest.raises(TrickleError):
        async with MediaPublisher(url, output=VideoOutput(gop_seconds=0.1)) as publisher:
            for i in range(3):
                await publisher.write(frame(i))
            await server.close_channel("late")
            await publisher.write(frame(3))


async def test_what_cannot_be_encoded_is_refused_and_the_stream_goes_on(
    server: TrickleServer,
) -> None:
    url = server.channel_url("wrong")
    server.create("wrong")
    reader = Reader(url)
    async with MediaPublisher(url) as publisher:
        await publisher.write(frame(0))
        with pytest.raises(TypeError, match="expected a VideoFrame"):
            await publisher.write(np.zeros((2, 2)))  # type: ignore[arg-type]
        await publisher.write(frame(1))
    assert sum(len(decoded(s)) for s in await reader.finished()) == 2


async def test_writing_outside_the_block_is_refused(server: TrickleServer) -> None:
    server.create("out")
    publisher = MediaPublisher(server.channel_url("out"))
    with pytest.raises(ChannelClosed, match="inside its `async with` block"):
        await publisher.write(frame(0))
    async with publisher:
        pass
    with pytest.raises(ChannelClosed):
        await publisher.write(frame(0))
    await publisher.aclose()
    with pytest.raises(ValueError, match="'wait' or 'drop'"):
        MediaPublisher(server.channel_url("out"), on_stall="panic")  # type: ignore[arg-type]


async def test_a_cancelled_write_leaves_a_stream_without_a_hole(server: TrickleServer) -> None:
    url = server.channel_url("cancel")
    server.create("cancel")
    reader = Reader(url)
    async with MediaPublisher(url) as publisher:
        for i in range(60):
            write = asyncio.create_task(publisher.write(frame(i)))
            await asyncio.sleep(0)
            if i % 3 == 1:
                write.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await write
    times = [f.time for s in await reader.finished() for f in decoded(s)]
    written = {1 + Fraction(i, 30) for i in range(60) if i % 3 != 1}
    assert times == sorted(set(times))
    assert written <= set(times)


async def test_a_stalled_network_makes_write_wait_and_loses_nothing(server: TrickleServer) -> None:
    url = server.channel_url("wait")
    server.create("wait")
    reader = Reader(url)
    output = VideoOutput(bitrate=80_000_000)
    async with Network(port_of(server)) as network:
        road = through(network, url, port_of(server))
        async with MediaPublisher(road, output=output, drain_timeout=LIMIT) as publisher:
            await publisher.write(noise(0))
            network.block()
            count = 1
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(LIMIT):
                    while True:
                        async with asyncio.timeout(1):
                            await publisher.write(noise(count))
                        count += 1
            network.clear()
            for i in range(count + 1, count + 10):
                await publisher.write(noise(i))
        times = [f.time for s in await reader.finished() for f in decoded(s)]
    wanted = [1 + Fraction(i, 30) for i in range(count + 10) if i != count]
    # The write that was given up may have been sent.
    assert [t for t in times if t != 1 + Fraction(count, 30)] == wanted
    assert publisher.stats.dropped == 0


async def test_a_stalled_network_drops_whole_segments_and_never_blocks_the_writer(
    server: TrickleServer,
) -> None:
    url = server.channel_url("drop")
    server.create("drop")
    reader = Reader(url)
    # So long that no segment would end by itself.
    output = VideoOutput(bitrate=80_000_000, gop_seconds=10)
    slowest = 0.0
    async with Network(port_of(server)) as network:
        road = through(network, url, port_of(server))
        async with MediaPublisher(
            road, output=output, on_stall="drop", drain_timeout=LIMIT
        ) as publisher:
            i = 0

            async def write() -> None:
                nonlocal i, slowest
                begin = time.monotonic()
                await publisher.write(noise(i))
                slowest = max(slowest, time.monotonic() - begin)
                i += 1
                await asyncio.sleep(0.005)

            await write()
            network.block()
            async with asyncio.timeout(LIMIT):
                while publisher.stats.dropped < 10:
                    await write()
                network.clear()
                while not publisher._queue.empty:
                    await write()
                for _ in range(5):
                    await write()
        segments = await reader.finished()
    assert slowest < 5
    times = [f.time for segment in segments for f in decoded(segment)]
    assert times == sorted(times)
    assert len(times) == i - publisher.stats.dropped
    assert publisher.stats.stalls >= 1
    for segment in segments:
        pictures = decoded(segment)
        assert pictures[0].key_frame
        # What was left out is missing between segments, never in one.
        assert {b.time - a.time for a, b in pairwise(pictures)} <= {Fraction(1, 30)}
    # Nothing of what came is patched up.
    decoder = StreamDecoder(audio="drop")
    for segment in segments:
        decoder.feed(segment)
        decoder.end_segment()
    decoder.flush()
    assert decoder.stats.damaged == decoder.stats.skipped == decoder.stats.lost_packets == 0


async def test_closing_waits_for_a_network_that_goes_on_and_all_of_it_arrives(
    server: TrickleServer,
) -> None:
    url = server.channel_url("close")
    server.create("close")
    reader = Reader(url)
    async with Network(port_of(server)) as network:
        road = through(network, url, port_of(server))
        output = VideoOutput(bitrate=80_000_000)
        publisher = MediaPublisher(road, output=output, expect=["audio"], drain_timeout=LIMIT)
        async with publisher:
            await publisher.write(noise(0))
            network.block()
            count = 1
            async with asyncio.timeout(LIMIT):
                while not publisher._queue.behind:
                    # More than the sockets hold, and less than a write would wait for.
                    if publisher._queue._bytes < 1 << 20:
                        await publisher.write(noise(count))
                        await publisher.write(sound(count))
                        count += 1
                    await asyncio.sleep(0.005)
            closing = asyncio.create_task(publisher.aclose())
            await asyncio.sleep(0.05)
            assert not closing.done()
            network.clear()
            async with asyncio.timeout(LIMIT):
                await closing
    data = b"".join(await reader.finished())
    assert [f.time for f in decoded(data)] == [1 + Fraction(i, 30) for i in range(count)]
    decoder = StreamDecoder(video="drop")
    sounds = [*decoder.feed(data), *decoder.flush()]
    # Not a whole number of the codec's frames was written: the last of them is filled up.
    assert sum(len(item) for item in sounds if isinstance(item, AudioFrame)) >= (count - 1) * 1600


@pytest.mark.parametrize("gop", [0.5, 10])
async def test_a_cut_connection_costs_a_segment_and_the_next_ones_are_whole(
    server: TrickleServer, gop: float
) -> None:
    url = server.channel_url("cut")
    server.create("cut")
    reader = Reader(url)
    async with Network(port_of(server)) as network:
        road = through(network, url, port_of(server))
        output = VideoOutput(gop_seconds=gop)
        async with MediaPublisher(road, output=output) as publisher:
            for i in range(90):
                if i == 20:
                    network.cut()
                await publisher.write(frame(i))
                await asyncio.sleep(0.005)
        segments = await reader.finished()
    whole = [decoded(segment) for segment in segments if segment]
    times = [f.time for part in whole for f in part]
    assert times == sorted(set(times))
    assert times[-1] == 1 + Fraction(89, 30)
    # The rest of a long segment is not waited for: the next one begins at once.
    assert len(times) >= (60 if gop < 1 else 30)
    assert publisher.stats.segments_failed + publisher.stats.transport.uncertain >= 1


async def test_closing_towards_a_dead_network_ends_within_its_limit(server: TrickleServer) -> None:
    url = server.channel_url("dead")
    server.create("dead")
    async with Network(port_of(server)) as network:
        road = through(network, url, port_of(server))
        timeouts = Timeouts(write=1, answer=1, outage=1)
        begin = 0.0
        async with MediaPublisher(
            road,
            output=VideoOutput(bitrate=80_000_000),
            drain_timeout=0.5,
            publisher=TricklePublisher(road, timeouts=timeouts, linger=0),
        ) as publisher:
            await publisher.write(noise(0))
            network.block()
            for i in range(1, 30):
                await publisher.write(noise(i))
            begin = time.monotonic()
    assert time.monotonic() - begin < LIMIT
    assert not encoding_threads()


async def test_a_task_that_is_cancelled_inside_the_block_closes_everything(
    server: TrickleServer,
) -> None:
    url = server.channel_url("leave")
    server.create("leave")
    reader = Reader(url)
    begun = asyncio.Event()

    async def publish() -> None:
        async with MediaPublisher(url) as publisher:
            for i in range(10):
                await publisher.write(frame(i))
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(publish())
    async with asyncio.timeout(LIMIT):
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert sum(len(decoded(s)) for s in await reader.finished()) == 10
    assert not encoding_threads()


async def test_frames_without_a_time_are_paced(server: TrickleServer) -> None:
    url = server.channel_url("pace")
    server.create("pace")
    reader = Reader(url)
    canvas = VideoFrame.from_ndarray(np.full(SMALL, 99, np.uint8), "gray")
    output = VideoOutput(fps=20)
    async with MediaPublisher(url, output=output, audio=AudioOutput()) as publisher:
        begin = time.monotonic()
        for _ in range(11):
            await publisher.write(canvas)
        assert time.monotonic() - begin > 0.45
    times = [f.time for s in await reader.finished() for f in decoded(s)]
    assert len(times) == 11
    assert all(b - a >= Fraction(1, 20) for a, b in pairwise(times))
    assert canvas.pts is None


def encoding_threads() -> list[str]:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        names = [t.name for t in threading.enumerate() if t.name.startswith("livepeer-encode")]
        if not names:
            break
        time.sleep(0.01)
    return names
