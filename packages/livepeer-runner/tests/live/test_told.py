"""What a stream tells of itself while nothing comes out: the hook it is in, or gives nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from livepeer.runner import AudioFrame, LivePipeline, VideoFrame
from livepeer.runner.live import status
from livepeer.runner.testing import run_live


class Stuck(LivePipeline):
    """Its hook waits until the test lets it go."""

    capacity = 2
    hook_timeout = 30.0
    go = threading.Event()

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.go.wait(60)
        return frame


@pytest.fixture
def stuck() -> Iterator[type[Stuck]]:
    Stuck.go = threading.Event()
    yield Stuck
    Stuck.go.set()


async def test_a_hook_that_hangs_is_named_in_status_log_and_metrics(
    stage: Any,
    make_clip: Any,
    stuck: type[Stuck],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(status, "BEAT_SECONDS", 1.5)
    async with stage(stuck) as it:
        await it.start("a")
        await it.start("b")
        feeding = [asyncio.create_task(it.feed(name, make_clip(500))) for name in "ab"]
        a = await it.event("a", slow)
        b = await it.event("b", slow)
        told = [one["inference_status"]["slow_hook"] for one in (a, b)]
        assert [one["name"] for one in told] == ["process_video"] * 2
        assert all(one["seconds"] >= 1 for one in told)
        assert all(
            0 < one["since"] <= event["timestamp"] for one, event in zip(told, (a, b), strict=True)
        )
        # The class is not thread-safe: one of them has the thread, the other waits for it.
        assert sorted(one["waits_for_thread"] for one in told) == [False, True]
        metrics = (await it.http.get("/metrics")).text
        (line,) = [
            line
            for line in metrics.splitlines()
            if line.startswith('livepeer_hook_running_seconds{hook="process_video"}')
        ]
        assert float(line.split()[1]) >= 1
        stuck.go.set()
        for task in feeding:
            task.cancel()
        await asyncio.wait(feeding)
    for name in "ab":
        assert f"stream {name}: process_video has been running for" in caplog.text


def slow(event: dict[str, Any]) -> bool:
    return event["type"] == "status" and event["inference_status"]["slow_hook"] is not None


class Overruns(LivePipeline):
    hook_timeout = 0.3

    async def process_video(self, frame: VideoFrame) -> VideoFrame:
        await asyncio.sleep(60)
        return frame


async def test_a_hook_over_its_limit_is_an_error_of_that_hook(stage: Any, make_clip: Any) -> None:
    async with stage(Overruns) as it:
        await it.start()
        events = asyncio.create_task(it.records("s-events"))
        feeding = asyncio.create_task(it.feed("s", make_clip(500)))
        told = await events
        feeding.cancel()
        await asyncio.wait([feeding])
        errors = [one for one in told if one["type"] == "error"]
        assert [one["hook"] for one in errors] == ["process_video", "stream"]
        last = [one for one in told if one["type"] == "status"][-1]["inference_status"]
        assert last["errors"] == 1
        assert last["last_error"] == "process_video took longer than hook_timeout (0.3 s)"
        metrics = (await it.http.get("/metrics")).text
        assert 'livepeer_hooks_hung_total{hook="process_video"} 1.0' in metrics


class Forgets(LivePipeline):
    def process_video(self, frame: VideoFrame) -> None:
        frame.planes[1][:] = 90


class Looks(LivePipeline):
    def process_video(self, frame: VideoFrame) -> None:
        if int(frame.time * 25) == 50:
            self.emit_event({"type": "seen"})


class Mute(LivePipeline):
    def process_audio(self, frame: AudioFrame) -> None: ...


async def test_a_hook_that_never_gives_a_frame_is_told_of_once(
    make_clip: Any, caplog: pytest.LogCaptureFixture
) -> None:
    result = await run_live(Forgets, make_clip(220, audio=False, width=32, height=32))
    (warning,) = result.warnings
    assert warning["type"] == "no_output"
    assert "process_video has given no frame in 100 calls" in warning["message"]
    assert result.status["inference_status"]["warning"] == warning["message"]
    assert caplog.text.count("no frame in 100 calls") == 1
    assert result.errors == []


async def test_a_hook_that_gives_no_sound_is_told_of_beside_pictures_that_pass(
    make_clip: Any,
) -> None:
    result = await run_live(Mute, make_clip(150, width=32, height=32))
    assert len(result.video) == 150
    (warning,) = result.warnings
    assert "process_audio" in warning["message"]


async def test_a_hook_that_only_looks_is_left_alone_once_it_emits(make_clip: Any) -> None:
    result = await run_live(Looks, make_clip(120, audio=False, width=32, height=32))
    assert result.warnings == []
    assert [one["type"] for one in result.emitted] == ["seen"]
