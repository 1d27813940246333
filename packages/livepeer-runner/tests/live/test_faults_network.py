"""A network that breaks ends the stream whose channel is gone, and no other."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from livepeer.runner import LivePipeline, VideoFrame
from livepeer.runner.live import stream as stream_module
from livepeer.trickle import TricklePublisher
from livepeer.trickle.media import MediaPublisher, encode


class Identity(LivePipeline):
    thread_safe = True
    capacity = 4

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


async def to_the_end(it: Any, output: asyncio.Task[Any], session: Any, last: int) -> list[Any]:
    """The pictures of a stream that was fed up to picture `last`, and went through all of it."""
    frames = [frame for frame in await output if isinstance(frame, VideoFrame)]
    await it.until(lambda: session.over)
    assert session.reason == "the input ended"
    assert frames[-1].time * 25 == last
    return frames


@pytest.mark.parametrize("kind", ["noise", "broken", "cut"])
async def test_a_corrupt_input_is_passed_over(
    stage: Any, beside: Any, make_clip: Any, kind: str
) -> None:
    good = encode(make_clip(25))
    broken = bytearray(good)
    chance = random.Random(1)
    for _ in range(len(good) // 100):
        broken[chance.randrange(len(good))] ^= 0xFF
    content = {"noise": os.urandom(50_000), "broken": bytes(broken), "cut": good[: len(good) // 2]}
    async with stage(Identity) as it, beside(it):
        await it.start("s")
        session = it.server.service.work.sessions["s"]
        output = asyncio.create_task(it.output("s"))
        async with (
            TricklePublisher(it.url("s"), delete_on_close=False, linger=0) as raw,
            raw.segment() as segment,
        ):
            await segment.write(content[kind])
        await it.feed("s", make_clip(30))
        frames = [frame for frame in await output if isinstance(frame, VideoFrame)]
        await it.until(lambda: session.over)
        assert session.reason == "the input ended"
        # By what it shows: its time goes on where that of what was read before it ended.
        assert round((frames[-1].to_ndarray().mean() - 40) / 3) == 29


async def test_an_output_channel_that_dies_ends_its_stream_with_a_reason(
    stage: Any, beside: Any, make_clip: Any
) -> None:
    async with stage(Identity) as it, beside(it):
        await it.start("s")
        session = it.server.service.work.sessions["s"]
        events = asyncio.create_task(it.records("s-events"))
        feeding = asyncio.create_task(it.feed("s", make_clip(1000)))
        await it.until(lambda: session.status.output.count > 5)
        await it.trickle.close_channel("s-out")
        assert "the output channel is lost" in (await events)[-1]["reason"]
        feeding.cancel()
        await asyncio.wait([feeding])


async def test_an_input_that_stalls_and_returns_goes_on(
    stage: Any, beside: Any, make_clip: Any
) -> None:
    async with stage(Identity) as it, beside(it):
        await it.start("s")
        session = it.server.service.work.sessions["s"]
        output = asyncio.create_task(it.output("s"))
        async with MediaPublisher(it.url("s")) as publisher:
            for frame in make_clip(40):
                if frame.time == 0.8 and isinstance(frame, VideoFrame):
                    await asyncio.sleep(1.5)  # the stall is what is tested
                await publisher.write(frame)
                await asyncio.sleep(0.005)
        await to_the_end(it, output, session, 39)


async def test_events_and_data_that_nobody_takes_do_not_end_a_stream(
    stage: Any, beside: Any, make_clip: Any
) -> None:
    async with stage(Identity) as it, beside(it):
        await it.start("s")
        session = it.server.service.work.sessions["s"]
        output = asyncio.create_task(it.output("s"))
        await it.trickle.close_channel("s-events")
        await it.trickle.close_channel("s-data")
        await it.feed("s", make_clip(50))
        frames = await to_the_end(it, output, session, 49)
        assert len(frames) + session.status.dropped == 50
        assert session.stream.events.lost


class Reports(Identity):
    def on_params_update(self, params: Any) -> None:
        self.emit_data(params)


async def test_a_data_channel_swept_while_quiet_is_opened_again_and_its_stream_goes_on(
    stage: Any, beside: Any, make_clip: Any
) -> None:
    sweeping = {"autocreate": True, "idle_timeout": 1.0, "sweep_interval": 0.1}
    async with stage(Reports, trickle=sweeping) as it, beside(it):
        await it.start("s", without=("control_url",))  # which would be swept as well, and end it
        session = it.server.service.work.sessions["s"]
        output = asyncio.create_task(it.output("s"))
        feeding = asyncio.create_task(it.feed("s", make_clip(10_000)))
        await it.post("params", "s", {"n": 1})
        assert await it.records("s-data") == [{"n": 1}]  # up to the end, which is the sweep's
        assert it.trickle.get("s-data") is None
        await it.post("params", "s", {"n": 2})
        await it.until(lambda: it.trickle.get("s-data") is not None)
        data = asyncio.create_task(it.records("s-data"))
        await it.post("stop", "s")
        assert await data == [{"n": 2}]
        feeding.cancel()
        await asyncio.wait([feeding])
        assert session.reason == "it was stopped"
        assert session.status.errors == 0
        assert session.stream.data.lost is None
        numbers = [int(one.time * 25) for one in await output if isinstance(one, VideoFrame)]
        assert len(numbers) == session.status.output.count
        assert numbers == sorted(set(numbers))


async def test_a_quiet_data_channel_is_kept_from_the_sweep(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "DATA_IDLE_SECONDS", 0.2)
    async with stage(Reports, trickle={"idle_timeout": 2.0, "sweep_interval": 0.1}) as it:
        await it.start("s", without=("control_url", "subscribe_url", "publish_url"))
        session = it.server.service.work.sessions["s"]
        await it.post("params", "s", {"n": 1})
        data = asyncio.create_task(it.records("s-data"))
        await asyncio.sleep(4)  # quiet, twice as long as the sweep allows
        assert it.trickle.get("s-data") is not None
        await it.post("params", "s", {"n": 2})
        await it.until(lambda: session.stream.data.sent == 2)
        await it.post("stop", "s")
        assert await data == [{"n": 1}, {"n": 2}]
        assert session.stream.data.lost is None


async def test_input_that_is_there_before_the_stream_reads_is_not_lost_where_nothing_may_be(
    stage: Any, make_clip: Any
) -> None:
    class Cold(LivePipeline):
        realtime = False
        warm = threading.Event()

        async def on_stream_start(self, params: Any) -> None:
            while not self.warm.is_set():  # noqa: ASYNC110 — it is another loop's
                await asyncio.sleep(0.02)

        def process_video(self, frame: VideoFrame) -> VideoFrame:
            return frame

    async with stage(Cold) as it:
        await it.start("s")
        session = it.server.service.work.sessions["s"]
        output = asyncio.create_task(it.output("s"))
        feeding = asyncio.create_task(it.feed("s", make_clip(75)))
        await it.until(lambda: it.trickle.get("s").next_seq >= 3)  # segments of a second
        Cold.warm.set()
        await feeding
        frames = await to_the_end(it, output, session, 74)
        assert [int(frame.time * 25) for frame in frames] == list(range(75))


TRICKLE = """
import asyncio, sys
from livepeer.trickle import TrickleServer

async def main():
    server = TrickleServer(port=int(sys.argv[1]), base_path="/ai/trickle", autocreate=False)
    for name in sys.argv[2:]:
        server.create(name)
    async with server:
        print("ready", flush=True)
        await asyncio.Event().wait()

print("loaded", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


class TrickleProcess:
    """A trickle server that can be killed; its channels are there before its port is.

    It is loaded beforehand, so that what it takes of the machine is no part of the fault.
    """

    def __init__(self, port: int, channels: list[str]) -> None:
        command = [sys.executable, "-c", TRICKLE, str(port), *channels]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    async def says(self, word: bytes) -> None:
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            assert (await asyncio.to_thread(self._process.stdout.readline)).strip() == word

    async def listen(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        await self.says(b"ready")

    def kill(self) -> None:
        with self._process as process:  # which closes its pipes, and waits
            process.kill()


@asynccontextmanager
async def loaded(port: int, channels: list[str]) -> AsyncIterator[TrickleProcess]:
    process = TrickleProcess(port, channels)
    try:
        await process.says(b"loaded")
        yield process
    finally:
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("remade", [True, False])
async def test_a_trickle_server_that_restarts_ends_only_streams_whose_channels_it_lost(
    stage: Any, beside: Any, make_clip: Any, unused_tcp_port: int, remade: bool
) -> None:
    names = ["s", "s-out", "s-events", "s-data"]
    base = f"http://127.0.0.1:{unused_tcp_port}/ai/trickle"
    async with (
        loaded(unused_tcp_port, names) as first,
        loaded(unused_tcp_port, names if remade else []) as again,
        stage(Identity) as it,
        beside(it),
    ):
        await first.listen()
        keys = ("subscribe_url", "publish_url", "events_url", "data_url")
        body = {key: f"{base}/{name}" for key, name in zip(keys, names, strict=True)}
        assert (await it.post("start", "s", body)).status_code == 200
        session = it.server.service.work.sessions["s"]
        feeding = asyncio.create_task(feed_at(f"{base}/s", make_clip(10_000)))
        try:
            await it.until(lambda: session.status.output.count > 10)
            first.kill()
            before = session.status.output.count
            await again.listen()
            if remade:
                await it.until(lambda: session.status.output.count > before + 25)
                assert not session.ending
                await it.post("stop", "s")
            else:
                await it.until(lambda: session.over)
                # Of a channel that is gone a reader cannot tell that it did not end.
                assert "channel is lost" in session.reason or session.reason == "the input ended"
            assert "s" not in it.server.service.work.sessions
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])


async def feed_at(url: str, frames: Any) -> None:
    async with MediaPublisher(url) as publisher:
        for frame in frames:
            await publisher.write(frame)
            await asyncio.sleep(0.02)
