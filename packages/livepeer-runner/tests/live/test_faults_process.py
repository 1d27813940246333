"""A whole container: a thousand streams leave nothing behind, and SIGTERM ends all that run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from livepeer.runner import LivePipeline, VideoFrame

SPARE = 24 << 20
"""Bytes that an allocator may keep; a stream that leaks a thousandth of its own shows."""


class Identity(LivePipeline):
    thread_safe = True
    capacity = 4

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


@pytest.mark.parametrize("cycles", [60, pytest.param(1000, marks=pytest.mark.slow)])
async def test_streams_started_and_stopped_leave_nothing_behind(
    stage: Any, left_behind: Any, cycles: int
) -> None:
    async with stage(Identity, linger=0) as it:

        async def worker(name: str, count: int) -> None:
            for number in range(count):
                assert (await it.start(f"{name}-{number}")).status_code == 200
                assert (await it.post("stop", f"{name}-{number}")).status_code == 200
                for ending in ("", "-control"):
                    await it.trickle.close_channel(f"{name}-{number}{ending}")

        await asyncio.gather(*(worker(f"warm{k}", 15) for k in range(4)))
        async with left_behind(it, memory=SPARE):
            await asyncio.gather(*(worker(f"n{k}", cycles // 4) for k in range(4)))
        assert it.trickle.channels == []


PROCESS = """
import asyncio
import contextlib
from livepeer.runner import AudioFrame, LivePipeline, VideoFrame, serve

class Stopped(LivePipeline):
    capacity = 4
    hook_timeout = 60
    last = None

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.last = float(frame.time)
        return frame

    async def process_audio(self, frame: AudioFrame) -> AudioFrame:
        if self.stream_id == "stuck":
            self.emit_event({"type": "stuck"})
        while self.stream_id == "stuck":  # and resists, too
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)
        return frame

    def on_stream_stop(self) -> None:
        self.emit_data({"stopped": self.stream_id, "last": self.last})

serve(Stopped)
"""


@contextmanager
def container(folder: Path, port: int, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    script = folder / "pipeline.py"
    script.write_text(PROCESS)
    own = {"HOST": "127.0.0.1", "PORT": str(port), **environment}
    process = subprocess.Popen([sys.executable, str(script)], env=os.environ | own)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def ready(url: str) -> None:
    async with asyncio.timeout(30), httpx.AsyncClient(base_url=url, trust_env=False) as http:
        while True:
            try:
                if (await http.get("/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_sigterm_ends_four_streams_cleanly_and_exits_0(
    tmp_path: Path, streams_of: Any, make_clip: Any, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    with container(tmp_path, unused_tcp_port) as process:
        await ready(url)
        names = ["a", "b", "c", "d"]
        async with streams_of(url) as it:
            for name in names:
                assert (await it.start(name)).status_code == 200
            reading = [
                asyncio.create_task(it.records(f"{name}-{ending}"))
                for name in names
                for ending in ("data", "events")
            ]
            seen: dict[str, list[VideoFrame]] = {name: [] for name in names}
            watching = [asyncio.create_task(it.watch(name, seen[name])) for name in names]
            feeding = [asyncio.create_task(it.feed(name, make_clip(10_000))) for name in names]
            await it.until(lambda: all(len(frames) > 10 for frames in seen.values()))
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 60) == 0
            told = await asyncio.gather(*reading)
            await asyncio.gather(*watching)
            for task in feeding:
                task.cancel()
            await asyncio.wait(feeding)
        for index, name in enumerate(names):
            (record,) = told[2 * index]
            assert record["stopped"] == name
            # The last picture that the hook was given is the last one that came out.
            assert float(seen[name][-1].time) == pytest.approx(record["last"])
            assert told[2 * index + 1][-1]["type"] == "stream_ended"
            assert told[2 * index + 1][-1]["reason"] == "the container is shutting down"


@pytest.mark.slow
async def test_a_hook_that_resists_its_end_does_not_keep_the_process(
    tmp_path: Path, streams_of: Any, make_clip: Any, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    with container(tmp_path, unused_tcp_port, LIVEPEER_DRAIN_TIMEOUT="1") as process:
        await ready(url)
        async with streams_of(url) as it:
            await it.start("stuck")
            events = asyncio.create_task(it.records("stuck-events"))
            feeding = asyncio.create_task(it.feed("stuck", make_clip(10_000)))
            await it.event("stuck", lambda one: one["type"] == "stuck")
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 60) == 0
            assert (await events)[-1]["reason"] == "the container is shutting down"
            feeding.cancel()
            await asyncio.wait([feeding])
