"""A hook that breaks ends its own stream at most: a healthy one runs beside each fault."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from livepeer.runner import AudioFrame, LivePipeline, VideoFrame
from livepeer.runner.live.stream import RECORDS_WAITING
from livepeer.runner.settings import Limits


class Faulty(LivePipeline):
    """Streams whose id begins with `beside` do their work; the others have the fault."""

    thread_safe = True
    capacity = 4
    hook_timeout = 2.0

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        if not self.stream_id.startswith("beside"):
            self.fault(frame)
        return frame

    def fault(self, frame: VideoFrame) -> None:
        """What a subclass does to its stream."""


async def ended(it: Any, stream: str) -> str:
    event = await it.event(stream, lambda one: one["type"] == "stream_ended")
    return str(event["reason"])


class RaisesOnce(Faulty):
    raised = False

    def fault(self, frame: VideoFrame) -> None:
        if not self.raised:
            self.raised = True
            raise RuntimeError("secret detail")


async def test_a_hook_that_raises_once_is_counted_and_its_frame_passes_on(
    stage: Any, beside: Any, make_clip: Any
) -> None:
    async with stage(RaisesOnce) as it, beside(it):
        await it.start("s")
        status = it.server.service.work.sessions["s"].status
        events = asyncio.create_task(it.records("s-events"))
        output = asyncio.create_task(it.output("s"))
        await it.feed("s", make_clip(10), speed=None)
        frames = [frame for frame in await output if isinstance(frame, VideoFrame)]
        (error,) = [one for one in await events if one["type"] == "error"]
        assert error["error"]["message"] == "process_video raised RuntimeError"
        assert error["count"] == 1 == status.errors
        assert "secret" not in str(error)
        assert len(frames) == status.input.count >= 1


class RaisesAlways(Faulty):
    max_errors = 5

    def fault(self, frame: VideoFrame) -> None:
        raise ValueError("no")


class Unencodable(Faulty):
    max_errors = 5

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        if self.stream_id.startswith("beside"):
            return frame
        return frame.replace(np.zeros((16, 20_000, 3), np.uint8))


async def fails(it: Any, make_clip: Any) -> str:
    """The reason for which a stream ends while it is fed."""
    await it.start("s")
    reason = asyncio.create_task(ended(it, "s"))
    feeding = asyncio.create_task(it.feed("s", make_clip(1000)))
    try:
        return await reason
    finally:
        feeding.cancel()
        await asyncio.wait([feeding])


async def test_a_hook_that_always_raises_ends_its_stream_with_a_reason(
    stage: Any, beside: Any, make_clip: Any
) -> None:
    async with stage(RaisesAlways) as it, beside(it):
        reason = await fails(it, make_clip)
        assert reason == "5 errors in a row; the last: process_video raised ValueError"


async def test_a_size_that_no_encoder_takes_ends_its_stream_with_a_reason(
    stage: Any, beside: Any, make_clip: Any
) -> None:
    async with stage(Unencodable) as it, beside(it):
        reason = await fails(it, make_clip)
        assert "5 errors in a row" in reason
        assert "its frame cannot be encoded" in reason


class Drops(Faulty):
    on_error = "drop"
    realtime = False

    def fault(self, frame: VideoFrame) -> None:
        if int(frame.time * 25) % 2:
            raise ValueError("odd")


async def test_a_frame_whose_hook_raised_is_dropped_where_the_class_says_so(
    stage: Any, make_clip: Any
) -> None:
    async with stage(Drops) as it:
        await it.start("s")
        output = asyncio.create_task(it.output("s"))
        await it.feed("s", make_clip(20), speed=4.0)
        frames = [frame for frame in await output if isinstance(frame, VideoFrame)]
        assert [int(frame.time * 25) for frame in frames] == list(range(0, 20, 2))


class Hangs(Faulty):
    released = threading.Event()

    def fault(self, frame: VideoFrame) -> None:
        self.released.wait(60)


async def test_a_hook_that_hangs_ends_its_stream_and_leaves_one_counted_thread(
    stage: Any, beside: Any, make_clip: Any
) -> None:
    Hangs.released.clear()
    async with stage(Hangs) as it:
        try:
            async with beside(it, abandoned=1):
                reason = await fails(it, make_clip)
                assert reason == "process_video took longer than hook_timeout (2 s)"
            assert "livepeer_abandoned_threads 1.0" in (await it.http.get("/metrics")).text
        finally:
            Hangs.released.set()
        await it.until(lambda: it.server.service.threads.abandoned == 0)


class HangsSerially(Hangs):
    thread_safe = False


async def test_a_serial_hook_that_hangs_delays_the_others_until_its_limit_only(
    stage: Any, make_clip: Any
) -> None:
    Hangs.released.clear()
    async with stage(HangsSerially) as it:
        try:
            await it.start("beside")
            output = asyncio.create_task(it.output("beside"))
            other = it.server.service.work.sessions["beside"]
            feeding = asyncio.create_task(it.feed("beside", make_clip(100)))
            await it.until(lambda: other.status.output.count > 0)
            assert "hook_timeout" in await fails(it, make_clip)
            count = other.status.output.count
            await it.until(lambda: other.status.output.count > count)
            await feeding
            frames = [frame for frame in await output if isinstance(frame, VideoFrame)]
            await it.until(lambda: other.over)
            assert len(frames) + other.status.dropped == 100
            assert frames[-1].time * 25 == 99
        finally:
            Hangs.released.set()


class HangsTwice(LivePipeline):
    """One stream in a thread, one on the loop that also resists; a limit that is far away."""

    thread_safe = True
    capacity = 3
    hook_timeout = 60
    released = threading.Event()
    hung: set[str] = set()  # noqa: RUF012 — shared on purpose

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        if self.stream_id == "thread":
            self.hung.add("thread")
            self.released.wait(60)
        return frame

    async def process_audio(self, frame: AudioFrame) -> AudioFrame:
        while self.stream_id == "loop" and not self.released.is_set():
            self.hung.add("loop")
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)
        return frame


async def test_hooks_that_hang_at_a_stop_are_cut_off_and_the_other_streams_end_cleanly(
    stage: Any, make_clip: Any
) -> None:
    HangsTwice.released.clear()
    HangsTwice.hung.clear()
    limits = dataclasses.replace(Limits(), drain_timeout=2.0)
    async with stage(HangsTwice, limits=limits) as it:
        try:
            names = ["thread", "loop", "healthy"]
            for name in names:
                assert (await it.start(name)).status_code == 200
            sessions = [it.server.service.work.sessions[name] for name in names]
            events = [asyncio.create_task(it.records(f"{name}-events")) for name in names]
            output = asyncio.create_task(it.output("healthy"))
            feeding = [asyncio.create_task(it.feed(name, make_clip(1000))) for name in names]
            await it.until(lambda: HangsTwice.hung == {"thread", "loop"})
            await it.until(lambda: sessions[2].status.output.count > 5)
            await asyncio.to_thread(it.server.close)
            for task in feeding:
                task.cancel()
            await asyncio.wait(feeding)
            assert all(session.over for session in sessions)
            assert it.free == 3
            assert it.server.service.threads.abandoned == 1
            assert len(await output) > 0
            for told in await asyncio.gather(*events):
                assert told[-1]["type"] == "stream_ended"
                assert told[-1]["reason"] == "the container is shutting down"
        finally:
            HangsTwice.released.set()


async def test_a_stream_that_is_ending_when_it_is_cut_off_says_its_last_words(
    stage: Any, make_clip: Any
) -> None:
    limits = dataclasses.replace(Limits(), drain_timeout=0.2)
    # So that it is still there when the drain is over.
    async with stage(Faulty, limits=limits, linger=1.5) as it:
        await it.start("s")
        session = it.server.service.work.sessions["s"]
        events = asyncio.create_task(it.records("s-events"))
        feeding = asyncio.create_task(it.feed("s", make_clip(1000)))
        await it.until(lambda: session.status.output.count > 5)
        await asyncio.to_thread(it.server.close)
        feeding.cancel()
        await asyncio.wait([feeding])
        assert (await events)[-1]["reason"] == "the container is shutting down"


async def test_a_flood_of_parameters_changes_nothing_but_parameters(
    stage: Any, beside: Any, make_clip: Any
) -> None:
    async with stage(Faulty) as it, beside(it):
        await it.start("s")
        session = it.server.service.work.sessions["s"]
        told = asyncio.Event()

        def clip() -> Iterator[Any]:
            """At least 20 pictures, and until the last parameter has arrived."""
            for index, frame in enumerate(make_clip(1_000_000)):
                if index >= 20 and told.is_set():
                    return
                yield frame

        feeding = asyncio.create_task(it.feed("s", clip()))
        for number in range(150):  # as fast as they are answered: hundreds in a second
            assert (await it.post("params", "s", {"n": number})).status_code == 200
        assert session.params == {"n": 149}
        await it.until(lambda: session.status.params == {"n": 149})
        told.set()
        await feeding
        await it.until(lambda: session.over)
        assert session.reason == "the input ended"
        assert session.status.errors == 0


class Floods(Faulty):
    def on_stream_start(self, params: Any) -> None:
        self.emitted = 0

    def fault(self, frame: VideoFrame) -> None:
        if self.emitted < FLOOD:
            for number in range(self.emitted, self.emitted + FLOOD // 3):
                self.emit_data({"n": number})
            self.emitted += FLOOD // 3


FLOOD = 15_000


async def test_a_flood_of_records_is_bounded_counted_and_holds_up_nobody(
    stage: Any, beside: Any, make_clip: Any
) -> None:
    async with stage(Floods) as it, beside(it):
        await it.start("s")
        session = it.server.service.work.sessions["s"]
        data = asyncio.create_task(it.records("s-data"))
        await it.feed("s", make_clip(50))
        numbers = [record["n"] for record in await data]
        await it.until(lambda: session.over)
        box = session.stream.data
        emitted = session.stream.copy.emitted
        assert box.sent + box.dropped == emitted > 0
        # What the network took is what arrived, each once and in order; it may have taken all.
        assert numbers == sorted(set(numbers))
        assert box.sent - box.uncertain <= len(numbers) <= box.sent


async def test_a_flood_of_records_that_nobody_takes_is_dropped_counted_and_said(
    stage: Any, beside: Any, make_clip: Any
) -> None:
    async with stage(Floods) as it, beside(it):
        body = it.channels("s")
        await it.trickle.close_channel("s-data")  # so that certainly none of them leaves
        await it.post("start", "s", body)
        session = it.server.service.work.sessions["s"]
        events = asyncio.create_task(it.records("s-events"))
        feeding = asyncio.create_task(it.feed("s", make_clip(1000)))
        await it.until(lambda: getattr(session.stream.copy, "emitted", 0) >= FLOOD)
        emitted = session.stream.copy.emitted
        # Before the end, what waits is not lost yet; and no more waits than that.
        await it.until(lambda: session.stream.data.dropped == emitted - RECORDS_WAITING)
        await it.post("stop", "s")
        feeding.cancel()
        await asyncio.wait([feeding])
        last = [one for one in await events if one["type"] == "status"][-1]["output_status"]
        assert (last["records_sent"], last["records_dropped"]) == (0, emitted)
        assert last["data_channel"]  # why
