"""A picture goes its whole way in one thread where nothing else of its stream is under way."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from livepeer.runner import LivePipeline, VideoFrame
from livepeer.runner.live import passage
from livepeer.trickle.media import MediaPublisher


def in_passage() -> bool:
    """Whether the hook that asks was called by a passage."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename == passage.__file__:
            return True
    return False


class Watched(LivePipeline):
    def setup(self) -> None:
        self.ways: list[bool] = []
        self.names: set[str] = set()
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.ways.append(in_passage())
        self.names.add(threading.current_thread().name)
        if len(self.ways) == 3:
            self.entered.set()
            self.go_on.wait(30)
        return frame


async def test_pictures_that_come_while_one_is_in_its_hook_follow_it_in_their_order(
    stage: Any, make_clip: Any
) -> None:
    frames: Iterator[VideoFrame] = make_clip(20, audio=False)
    async with stage(Watched) as it:
        await it.start("s")
        watched = it.server.service.pipeline
        out: list[VideoFrame] = []
        watching = asyncio.create_task(it.watch("s", out))
        async with MediaPublisher(it.url("s")) as publisher:
            for number, frame in enumerate(frames):
                await publisher.write(frame)
                if number < 10:
                    # One at a time, up to the third, which stays in its hook meanwhile.
                    await it.until(lambda n=number: len(watched.ways) > min(n, 2))
                if number == 9:
                    watched.go_on.set()
                if number >= 10:
                    await it.until(lambda n=number: len(out) > n)
        await watching
    assert len(out) == 20
    assert [frame.time for frame in out] == sorted(frame.time for frame in out)
    # The first one tells the tracks; the third was alone, and those behind it were not.
    assert watched.ways[1:4] == [True, True, False]
    assert all(watched.ways[-9:])
    assert len(watched.names) == 1


class OneOfMany(LivePipeline):
    """Its streams share the cores, so that a quick hook's pictures are encoded where it ran."""

    thread_safe = True
    capacity = 4

    def setup(self) -> None:
        self.ways: list[bool] = []

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.ways.append(in_passage())
        return frame


async def test_of_many_streams_also_pictures_that_wait_go_on_in_one_thread(
    stage: Any, make_clip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage, "QUICK_SECONDS", 60.0)  # however busy the machine is
    async with stage(OneOfMany) as it:
        await it.start("s")
        one = it.server.service.pipeline
        output = asyncio.create_task(it.output("s"))
        # As fast as they are encoded: some wait, decoded, for those before them.
        await it.feed("s", make_clip(30, audio=False), speed=None)
        out = await output
    times = [frame.time for frame in out]
    assert times == sorted(set(times))
    assert len(out) == len(one.ways) > 1
    assert all(one.ways[1:])  # the first one tells the tracks
