"""Calling hooks: limits, resistance, threads, records; each ends its stream at most."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import pytest

from livepeer.runner import BatchItem, LivePipeline, VideoFrame
from livepeer.runner.exceptions import SignatureError
from livepeer.runner.live.hooks import Hooks
from livepeer.runner.testing import run_live


class Hung(LivePipeline):
    """Whichever hook the test names waits, in its own way, for longer than its limit."""

    hook_timeout = 0.5

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


class HungStart(Hung):
    def on_stream_start(self, params: Any) -> None:
        time.sleep(1.5)


class HungStartAsync(Hung):
    async def on_stream_start(self, params: Any) -> None:
        await asyncio.sleep(60)


class HungVideoAsync(LivePipeline):
    hook_timeout = 0.5

    async def process_video(self, frame: VideoFrame) -> VideoFrame:
        await asyncio.sleep(60)
        return frame


class ResistsCancellation(LivePipeline):
    hook_timeout = 0.5

    async def process_video(self, frame: VideoFrame) -> VideoFrame:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.2)
        return frame


class HungGenerate(LivePipeline):
    hook_timeout = 0.5

    def generate(self) -> Iterator[VideoFrame]:
        time.sleep(1.5)
        yield VideoFrame.from_ndarray(np.zeros((96, 160, 3), np.uint8))


class HungBatch(LivePipeline):
    hook_timeout = 0.5

    def process_video_batch(self, items: list[BatchItem]) -> list[VideoFrame]:
        time.sleep(1.5)
        return [item.frame for item in items]


class HungParams(Hung):
    def on_params_update(self, params: Any) -> None:
        time.sleep(1.5)


@pytest.mark.parametrize(
    "cls", [HungStart, HungStartAsync, HungVideoAsync, ResistsCancellation, HungBatch, HungParams]
)
async def test_a_hook_over_its_limit_ends_its_stream_with_its_name(
    cls: type[LivePipeline], make_clip: Callable[..., Any]
) -> None:
    began = time.monotonic()
    result = await run_live(cls, make_clip(30), updates=[(0.2, {"n": 1})])
    assert "took longer than hook_timeout" in result.reason
    assert result.events[-1]["type"] == "stream_ended"
    assert time.monotonic() - began < 20


async def test_a_generator_that_hangs_ends_its_stream() -> None:
    result = await run_live(HungGenerate, seconds=20)
    assert result.reason == "generate took longer than hook_timeout (0.5 s)"


class HungStop(Hung):
    def on_stream_stop(self) -> None:
        time.sleep(1.5)


async def test_a_stop_hook_that_hangs_does_not_keep_the_stream(
    make_clip: Callable[..., Any],
) -> None:
    result = await run_live(HungStop, make_clip(10))
    assert result.reason == "the input ended"
    assert len(result.video) == 10
    assert "on_stream_stop took longer" in result.errors[-1]["message"]


class FailsToStart(Hung):
    def on_stream_start(self, params: Any) -> None:
        raise RuntimeError("secret")

    def on_stream_stop(self) -> None:
        self.emit_event({"type": "stopped"})


async def test_a_stream_that_could_not_start_is_not_stopped_by_hook(
    make_clip: Callable[..., Any],
) -> None:
    result = await run_live(FailsToStart, make_clip(5))
    assert result.reason == "on_stream_start raised RuntimeError"
    assert "stopped" not in {event["type"] for event in result.events}
    assert result.video == []


class Exits(LivePipeline):
    max_errors = 3

    async def process_video(self, frame: VideoFrame) -> VideoFrame:
        raise SystemExit(3)


async def test_a_hook_that_exits_does_not_end_the_process(make_clip: Callable[..., Any]) -> None:
    result = await run_live(Exits, make_clip(20, audio=False))
    assert "3 errors in a row" in result.reason


class CancelsItself(LivePipeline):
    max_errors = 3

    async def process_video(self, frame: VideoFrame) -> VideoFrame:
        raise asyncio.CancelledError


async def test_a_hook_that_is_cancelled_from_within_has_failed(
    make_clip: Callable[..., Any],
) -> None:
    result = await run_live(CancelsItself, make_clip(20, audio=False))
    assert "3 errors in a row" in result.reason


def logged(hook: Any) -> Any:
    @functools.wraps(hook)
    def wrapper(*arguments: Any) -> Any:
        return hook(*arguments)

    return wrapper


class Decorated(LivePipeline):
    @logged
    async def process_video(self, frame: VideoFrame) -> VideoFrame:
        await asyncio.sleep(0)
        return frame


class DecoratedGenerator(LivePipeline):
    @logged
    async def process_video(self, frame: VideoFrame) -> AsyncIterator[VideoFrame]:
        yield frame


@pytest.mark.parametrize("cls", [Decorated, DecoratedGenerator])
async def test_an_async_hook_behind_a_sync_decorator_works(
    cls: type[LivePipeline], make_clip: Callable[..., Any]
) -> None:
    result = await run_live(cls, make_clip(10, audio=False))
    assert len(result.video) == 10
    assert result.errors == []


class GoodSound(LivePipeline):
    max_errors = 5

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        raise ValueError("always")

    def process_audio(self, frame: Any) -> Any:
        return frame


async def test_good_sound_does_not_excuse_bad_pictures(make_clip: Callable[..., Any]) -> None:
    result = await run_live(GoodSound, make_clip(30))
    assert "5 errors in a row; the last: process_video raised ValueError" in result.reason


class Emits(LivePipeline):
    def on_stream_start(self, params: Any) -> None:
        self.record = {"n": 0, "list": [0]}

    def process_video(self, frame: VideoFrame) -> None:
        self.record["n"] += 1  # type: ignore[operator]
        self.record["list"][0] += 1  # type: ignore[index]
        self.emit_data(self.record)
        thread = threading.Thread(target=self.emit_event, args=({"type": "seen"},))
        thread.start()
        thread.join()


async def test_records_are_what_they_were_when_emitted_and_from_any_thread(
    make_clip: Callable[..., Any],
) -> None:
    result = await run_live(Emits, make_clip(12, audio=False))
    assert result.data == [{"n": n, "list": [n]} for n in range(1, 13)]
    assert sum(event["type"] == "seen" for event in result.events) == 12


class EmitsNonsense(LivePipeline):
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        for record in ({"n": float("nan")}, {"o": object()}, {"big": "x" * 70_000}, [1]):
            with contextlib.suppress(TypeError, ValueError):
                self.emit_data(record)  # type: ignore[arg-type]
                raise AssertionError(record)
        for event in ({}, {"type": ""}, {"type": "status"}, {"type": "stream_ended"}):
            with contextlib.suppress(ValueError):
                self.emit_event(event)
                raise AssertionError(event)
        return frame


async def test_what_no_channel_can_carry_is_refused_where_it_is_emitted(
    make_clip: Callable[..., Any],
) -> None:
    result = await run_live(EmitsNonsense, make_clip(3, audio=False))
    assert result.errors == []
    assert result.data == []


class Huge(LivePipeline):
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


async def test_huge_parameters_do_not_silence_the_events(make_clip: Callable[..., Any]) -> None:
    result = await run_live(Huge, make_clip(3, audio=False), params={"image": "x" * 100_000})
    assert result.status["inference_status"]["last_params"] is None
    assert result.events[-1]["type"] == "stream_ended"


def test_a_hook_that_takes_other_arguments_is_refused_at_once() -> None:
    class NoFrame(LivePipeline):
        def process_video(self) -> None: ...

    with pytest.raises(SignatureError, match=r"write `def process_video\(self, frame\)`"):
        Hooks.of(NoFrame)

    class Static(LivePipeline):
        @staticmethod
        def process_video(frame: VideoFrame) -> VideoFrame:
            return frame

    assert Hooks.of(Static).video


class Pair(LivePipeline):
    capacity = 4
    max_batch_size = 4
    max_batch_wait_ms = 60
    sizes: list[int] = []  # noqa: RUF012 — shared on purpose

    def process_video_batch(self, items: list[BatchItem]) -> list[VideoFrame | None]:
        self.sizes.append(len(items))
        return [None if item.params.get("drop") else item.frame for item in items]


async def test_a_batch_gathers_pictures_of_several_streams_each_with_its_parameters(
    stage: Any, make_clip: Callable[..., Any]
) -> None:
    async with stage(Pair) as it:
        for name in ("a", "b", "c"):
            await it.start(name, params={"drop": name == "c"})
        outputs = [asyncio.create_task(it.output(name)) for name in ("a", "b", "c")]
        await asyncio.gather(
            *(it.feed(name, make_clip(20, fps=10, audio=False)) for name in ("a", "b", "c"))
        )
        found = await asyncio.gather(*outputs)
    assert max(Pair.sizes) >= 2
    assert len(found[0]) >= 15 <= len(found[1])
    assert found[2] == []


class SlowParallel(LivePipeline):
    thread_safe = True
    capacity = 2
    inside = 0
    most = 0
    lock = threading.Lock()

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        cls = type(self)
        with self.lock:
            cls.inside += 1
            cls.most = max(cls.most, cls.inside)
        time.sleep(0.02)  # as a call that releases the GIL does
        with self.lock:
            cls.inside -= 1
        return frame


class SlowSerial(SlowParallel):
    thread_safe = False
    most = 0


@pytest.mark.parametrize(("cls", "most"), [(SlowParallel, 2), (SlowSerial, 1)])
async def test_hooks_of_two_streams_run_at_once_only_where_the_class_says_so(
    stage: Any, make_clip: Callable[..., Any], cls: type[SlowParallel], most: int
) -> None:
    async with stage(cls) as it:
        for name in ("a", "b"):
            await it.start(name)
        await asyncio.gather(*(it.feed(name, make_clip(20, audio=False)) for name in ("a", "b")))
        for name in ("a", "b"):
            await it.post("stop", name)
    assert cls.most == most
