"""What breaks in one stream ends that stream at most: a second one runs beside each fault."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from livepeer.runner import LivePipeline, VideoFrame
from livepeer.trickle import TricklePublisher, TrickleServer
from livepeer.trickle.media import MediaPublisher

BESIDE_FRAMES = 50


class Safe(LivePipeline):
    """Streams whose id begins with `beside` do their work; the others have the fault."""

    thread_safe = True
    capacity = 4
    hook_timeout = 1.0

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        if not self.stream_id.startswith("beside"):
            self.fault(frame)
        return frame

    def fault(self, frame: VideoFrame) -> None:
        """What a subclass does to its stream."""


@asynccontextmanager
async def beside(it: Any, make_clip: Any) -> AsyncIterator[None]:
    """A healthy stream during the block: every frame comes out, and none of them late."""
    assert (await it.start("beside")).status_code == 200
    output = asyncio.create_task(it.output("beside"))
    session = it.server.service.work.sessions["beside"]
    feeding = asyncio.create_task(it.feed("beside", make_clip(BESIDE_FRAMES)))
    try:
        yield
        await feeding
        frames = [frame for frame in await output if isinstance(frame, VideoFrame)]
        await it.until(lambda: session.over)  # its figures are final then
    finally:
        for task in (feeding, output):
            task.cancel()
        await asyncio.wait((feeding, output))
    assert len(frames) + session.status.dropped == BESIDE_FRAMES
    # Alone it is all of them, in a few milliseconds each; a fault next door would cost a second and
    # its 25 pictures. The rest is the machine, which may be busy.
    assert len(frames) >= BESIDE_FRAMES * 0.7
    assert session.status.latency_ms()["p95"] < 300


async def ended(it: Any, stream: str) -> str:
    event = await it.event(stream, lambda one: one["type"] == "stream_ended")
    return str(event["reason"])


class RaisesOnce(Safe):
    def fault(self, frame: VideoFrame) -> None:
        if frame.time == 0:
            raise RuntimeError("secret detail")


async def test_a_hook_that_raises_once_is_counted_and_its_frame_passes_on(
    stage: Any, make_clip: Any
) -> None:
    async with stage(RaisesOnce) as it, beside(it, make_clip):
        await it.start("s")
        events = asyncio.create_task(it.records("s-events"))
        output = asyncio.create_task(it.output("s"))
        await it.feed("s", make_clip(10), speed=None)
        assert sum(isinstance(frame, VideoFrame) for frame in await output) >= 5
        errors = [one for one in await events if one["type"] == "error"]
        assert errors[0]["error"]["message"] == "process_video raised RuntimeError"
        assert "secret" not in str(errors)


class RaisesAlways(Safe):
    max_errors = 5

    def fault(self, frame: VideoFrame) -> None:
        raise ValueError("no")


async def test_a_hook_that_always_raises_ends_its_stream_with_a_reason(
    stage: Any, make_clip: Any
) -> None:
    async with stage(RaisesAlways) as it, beside(it, make_clip):
        await it.start("s")
        reason = asyncio.create_task(ended(it, "s"))
        feeding = asyncio.create_task(it.feed("s", make_clip(100)))
        assert "5 errors in a row" in await reason
        feeding.cancel()
        await asyncio.wait([feeding])
        await it.until(lambda: it.free == 3)


class Drops(Safe):
    on_error = "drop"

    def fault(self, frame: VideoFrame) -> None:
        if int(frame.time * 25) % 2:
            raise ValueError("odd")


async def test_a_frame_whose_hook_raised_is_dropped_where_the_class_says_so(
    stage: Any, make_clip: Any
) -> None:
    class Lossless(Drops):
        realtime = False

    async with stage(Lossless) as it:
        await it.start("s")
        output = asyncio.create_task(it.output("s"))
        await it.feed("s", make_clip(20), speed=4.0)
        frames = [frame for frame in await output if isinstance(frame, VideoFrame)]
        assert [int(frame.time * 25) for frame in frames] == list(range(0, 20, 2))


class Hangs(Safe):
    released = threading.Event()

    def fault(self, frame: VideoFrame) -> None:
        self.released.wait(60)


async def test_a_hook_that_hangs_ends_its_stream_and_leaves_one_counted_thread(
    stage: Any, make_clip: Any
) -> None:
    Hangs.released.clear()
    async with stage(Hangs) as it:
        async with beside(it, make_clip):
            await it.start("s")
            reason = asyncio.create_task(ended(it, "s"))
            feeding = asyncio.create_task(it.feed("s", make_clip(200)))
            assert "longer than hook_timeout (1 s)" in await reason
            feeding.cancel()
            await asyncio.wait([feeding])
        threads = it.server.service.threads
        assert threads.abandoned == 1
        assert "livepeer_abandoned_threads 1.0" in (await it.http.get("/metrics")).text
        await it.until(lambda: it.free == 4)
        Hangs.released.set()
        await it.until(lambda: threads.abandoned == 0)


class HangsSerially(Hangs):
    thread_safe = False


async def test_a_serial_hook_that_hangs_delays_the_others_until_its_limit_only(
    stage: Any, make_clip: Any
) -> None:
    Hangs.released.clear()
    async with stage(HangsSerially) as it:
        await it.start("s")
        await it.start("beside")
        output = asyncio.create_task(it.output("beside"))
        reason = asyncio.create_task(ended(it, "s"))
        await asyncio.gather(
            it.feed("s", make_clip(25), speed=None), it.feed("beside", make_clip(75))
        )
        assert "hook_timeout" in await reason
        frames = [frame for frame in await output if isinstance(frame, VideoFrame)]
        assert frames[-1].time > 2.5
        Hangs.released.set()


async def test_a_corrupt_input_is_passed_over(stage: Any, make_clip: Any) -> None:
    async with stage(Safe) as it, beside(it, make_clip):
        await it.start("s")
        output = asyncio.create_task(it.output("s"))
        async with (
            TricklePublisher(it.url("s"), delete_on_close=False, linger=0) as raw,
            raw.segment() as segment,
        ):
            await segment.write(os.urandom(50_000))
        await it.feed("s", make_clip(30), speed=2.0)
        assert sum(isinstance(frame, VideoFrame) for frame in await output) >= 20


class Tiny(Safe):
    max_errors = 5

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        if self.stream_id.startswith("beside"):
            return frame
        return frame.replace(np.zeros((16, 20_000, 3), np.uint8))


async def test_a_size_that_no_encoder_takes_ends_its_stream_with_a_reason(
    stage: Any, make_clip: Any
) -> None:
    async with stage(Tiny) as it, beside(it, make_clip):
        await it.start("s")
        reason = asyncio.create_task(ended(it, "s"))
        feeding = asyncio.create_task(it.feed("s", make_clip(100)))
        assert "errors in a row" in await reason
        feeding.cancel()
        await asyncio.wait([feeding])


async def test_an_output_channel_that_dies_ends_its_stream_with_a_reason(
    stage: Any, make_clip: Any
) -> None:
    async with stage(Safe) as it, beside(it, make_clip):
        await it.start("s")
        reason = asyncio.create_task(ended(it, "s"))
        feeding = asyncio.create_task(it.feed("s", make_clip(200)))
        session = it.server.service.work.sessions["s"]
        await it.until(lambda: session.status.output.count > 5)
        await it.trickle.close_channel("s-out")
        assert "the output channel is lost" in await reason
        feeding.cancel()
        await asyncio.wait([feeding])


async def test_an_input_that_stalls_and_returns_goes_on(stage: Any, make_clip: Any) -> None:
    async with stage(Safe) as it, beside(it, make_clip):
        await it.start("s")
        output = asyncio.create_task(it.output("s"))
        async with MediaPublisher(it.url("s")) as publisher:
            for frame in make_clip(40):
                if frame.time == 0.8 and isinstance(frame, VideoFrame):
                    await asyncio.sleep(1.5)  # the stall is what is tested
                await publisher.write(frame)
                await asyncio.sleep(0.005)
        frames = [frame for frame in await output if isinstance(frame, VideoFrame)]
        assert frames[-1].time == pytest.approx(39 / 25)


async def test_events_that_nobody_takes_do_not_end_a_stream(stage: Any, make_clip: Any) -> None:
    async with stage(Safe) as it, beside(it, make_clip):
        await it.start("s")
        output = asyncio.create_task(it.output("s"))
        await it.trickle.close_channel("s-events")
        await it.trickle.close_channel("s-data")
        await it.feed("s", make_clip(25), speed=2.0)
        assert sum(isinstance(frame, VideoFrame) for frame in await output) >= 20


async def test_a_flood_of_parameters_changes_nothing_but_parameters(
    stage: Any, make_clip: Any
) -> None:
    async with stage(Safe) as it, beside(it, make_clip):
        await it.start("s")
        feeding = asyncio.create_task(it.feed("s", make_clip(40)))
        for number in range(150):
            assert (await it.post("params", "s", {"n": number})).status_code == 200
        session = it.server.service.work.sessions["s"]
        assert session.params == {"n": 149}
        await session_applied(it, session)
        await feeding


async def session_applied(it: Any, session: Any) -> None:
    await it.until(lambda: session.status.params == {"n": 149})


class Floods(Safe):
    def on_stream_start(self, params: Any) -> None:
        self.floods = 3  # making them holds the interpreter, which is nobody's fault

    def fault(self, frame: VideoFrame) -> None:
        if self.floods:
            self.floods -= 1
            for number in range(5000):
                self.emit_data({"n": number})


async def test_a_flood_of_records_is_bounded_counted_and_holds_up_nobody(
    stage: Any, make_clip: Any
) -> None:
    async with stage(Floods) as it, beside(it, make_clip):
        await it.start("s")
        output = asyncio.create_task(it.output("s"))
        events = asyncio.create_task(it.records("s-events"))
        await it.feed("s", make_clip(15), speed=1.0)
        assert sum(isinstance(frame, VideoFrame) for frame in await output) >= 3
        last = [one for one in await events if one["type"] == "status"][-1]
        assert last["output_status"]["records_dropped"] > 0


class SlowModel(LivePipeline):
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        time.sleep(0.1)  # a model that takes two and a half frames
        return frame


async def test_a_slow_model_lowers_the_rate_and_not_the_latency(stage: Any, make_clip: Any) -> None:
    async with stage(SlowModel) as it:
        await it.start("s")
        output = asyncio.create_task(it.output("s"))
        session = it.server.service.work.sessions["s"]
        await it.feed("s", make_clip(75))
        frames = [frame for frame in await output if isinstance(frame, VideoFrame)]
        sounds = [frame for frame in await output if not isinstance(frame, VideoFrame)]
        await it.until(lambda: session.over)  # its figures are final then
        assert 10 <= len(frames) <= 40
        assert session.status.dropped == 75 - len(frames)
        assert sum(float(frame.duration) for frame in sounds) == pytest.approx(3.0, abs=0.1)
        assert session.status.latency_ms()["p95"] < 500


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

asyncio.run(main())
"""


class TrickleProcess:
    """A trickle server that can be killed; its channels are there before its port is."""

    def __init__(self, port: int, channels: list[str]) -> None:
        command = [sys.executable, "-c", TRICKLE, str(port), *channels]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)

    async def ready(self) -> None:
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            assert await asyncio.to_thread(self._process.stdout.readline)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.mark.slow
@pytest.mark.parametrize("remade", [True, False])
async def test_a_trickle_server_that_restarts_ends_only_streams_whose_channels_it_lost(
    stage: Any, make_clip: Any, unused_tcp_port: int, remade: bool
) -> None:
    names = ["s", "s-out", "s-events", "s-data"]
    base = f"http://127.0.0.1:{unused_tcp_port}/ai/trickle"
    async with stage(Safe) as it, beside(it, make_clip):
        first = TrickleProcess(unused_tcp_port, names)
        await first.ready()
        keys = ("subscribe_url", "publish_url", "events_url", "data_url")
        body = {key: f"{base}/{name}" for key, name in zip(keys, names, strict=True)}
        assert (await it.post("start", "s", body)).status_code == 200
        session = it.server.service.work.sessions["s"]
        feeding = asyncio.create_task(feed_at(f"{base}/s", make_clip(1000)))
        await it.until(lambda: session.status.output.count > 10)
        first.kill()
        before = session.status.output.count
        again = TrickleProcess(unused_tcp_port, names if remade else [])
        try:
            await again.ready()
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
            again.kill()


async def feed_at(url: str, frames: Any) -> None:
    async with MediaPublisher(url) as publisher:
        for frame in frames:
            await publisher.write(frame)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("cycles", [200, pytest.param(1000, marks=pytest.mark.slow)])
async def test_streams_started_and_stopped_leave_nothing_behind(stage: Any, cycles: int) -> None:
    process = psutil.Process()
    async with stage(Safe) as it:
        it.server.service.work.linger = 0

        async def worker(name: str, count: int) -> None:
            for number in range(count):
                assert (await it.start(f"{name}-{number}")).status_code == 200
                assert (await it.post("stop", f"{name}-{number}")).status_code == 200
                for ending in ("", "-control"):
                    await it.trickle.close_channel(f"{name}-{number}{ending}")

        def tasks() -> int:
            return it.server.tasks

        await asyncio.gather(*(worker(f"warm{k}", 15) for k in range(4)))
        gc.collect()
        before = process.num_fds(), threading.active_count(), process.memory_info().rss
        began = tasks()
        await asyncio.gather(*(worker(f"n{k}", cycles // 4) for k in range(4)))
        gc.collect()
        assert it.free == 4
        assert not it.server.service.work.running
        assert process.num_fds() <= before[0] + 8
        assert threading.active_count() <= before[1] + 1
        assert process.memory_info().rss - before[2] < 24 << 20
        assert tasks() <= began


PROCESS = """
import sys
from livepeer.runner import LivePipeline, VideoFrame, serve

class Stopped(LivePipeline):
    capacity = 4
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame
    def on_stream_stop(self) -> None:
        self.emit_data({"stopped": self.stream_id})

serve(Stopped)
"""


def served_process(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=environment)


async def test_sigterm_ends_four_streams_cleanly_and_exits_0(
    tmp_path: Path, make_clip: Any, unused_tcp_port: int
) -> None:
    script = tmp_path / "pipeline.py"
    script.write_text(PROCESS)
    environment = os.environ | {"HOST": "127.0.0.1", "PORT": str(unused_tcp_port)}
    process = served_process([sys.executable, str(script)], environment)
    try:
        async with (
            TrickleServer(autocreate=False) as trickle,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{unused_tcp_port}") as http,
        ):
            await ready(http)
            from livepeer.trickle import JSONLSubscriber

            streams = ["a", "b", "c", "d"]
            for name in streams:
                body = {}
                for key, ending in (
                    ("subscribe_url", ""),
                    ("publish_url", "-out"),
                    ("events_url", "-events"),
                    ("data_url", "-data"),
                ):
                    trickle.create(name + ending)
                    body[key] = trickle.channel_url(name + ending)
                answer = await http.post("/stream/start", headers={"X-Stream-Id": name}, json=body)
                assert answer.status_code == 200
            reading = [
                asyncio.create_task(
                    read_all(JSONLSubscriber(trickle.channel_url(f"{n}-{c}"), start=0))
                )
                for n in streams
                for c in ("data", "events")
            ]
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 40) == 0
            found = await asyncio.gather(*reading)
            for index, name in enumerate(streams):
                assert found[2 * index] == [{"stopped": name}]
                last = found[2 * index + 1][-1]
                assert last["reason"] == "the container is shutting down"
    finally:
        process.kill()
        process.wait()


async def read_all(records: Any) -> list[dict[str, Any]]:
    async with records:
        return [record async for record in records]


async def ready(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                if (await http.get("/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
