"""A healthy stream beside one with a fault."""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from livepeer.trickle.media import AudioFrame, MediaSubscriber, VideoFrame

from .left_behind import LeftBehind
from .streams import Stage, clip

QUIET = 10
"""Pictures before the fault."""
BESIDE = 30
"""Pictures, at least, from when the fault begins: fewer than are sent within a hook's limit, so
that one who waits it out is late with most of them."""
MOVED = 1.0
"""Seconds. A fault that is not kept to its stream costs the others its limit (two seconds, so that
the p95 is about two seconds too), or blocks the loop for long; a busy machine, less."""


class Viewer:
    """A healthy stream's two ends: when each picture was sent, and when it was seen."""

    def __init__(self, it: Stage, stream: str) -> None:
        self._it = it
        self.stream = stream
        self.stopping = False
        self.sent: list[float] = []
        self.seen: list[tuple[int, float]] = []

    def frames(self) -> Iterator[VideoFrame | AudioFrame]:
        for frame in clip(10_000):
            if isinstance(frame, VideoFrame):
                if self.stopping and len(self.sent) >= QUIET + BESIDE:
                    return
                self.sent.append(asyncio.get_running_loop().time())
            yield frame

    async def watch(self) -> None:
        url = self._it.url(f"{self.stream}-out")
        async with MediaSubscriber(url, policy="all", start=0) as frames:
            async for frame in frames:
                if isinstance(frame, VideoFrame):
                    now = asyncio.get_running_loop().time()
                    self.seen.append((round(frame.time * 25), now))

    @property
    def latest(self) -> int:
        """The number of the newest picture seen."""
        return self.seen[-1][0] if self.seen else -1

    def p95(self, first: int, last: int) -> float:
        """Of the times that the viewer waited for these pictures, or where one was left out, for
        a later one: so a stall counts, whether its pictures are late or dropped."""
        numbers = [number for number, _ in self.seen]
        waits = []
        for number in range(first, last):
            place = min(bisect.bisect_left(numbers, number), len(numbers) - 1)
            waits.append(self.seen[place][1] - self.sent[number])
        return sorted(waits)[int(0.95 * len(waits))]


Beside = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture
def beside(left_behind: LeftBehind) -> Beside:
    """`async with stage(Faulty) as it, beside(it): ...`

    A second stream runs before and during the block, and its p95 does not move. Afterwards nothing
    is left behind of either, except the threads `abandoned`.
    """

    @asynccontextmanager
    async def run(it: Stage, *, abandoned: int = 0) -> AsyncIterator[None]:
        await one_stream(it, "beside-first")  # what is made once is made now
        async with left_behind(it, abandoned=abandoned), undisturbed(it):
            yield

    return run


@asynccontextmanager
async def undisturbed(it: Stage) -> AsyncIterator[None]:
    viewer = Viewer(it, "beside")
    assert (await it.start("beside", without=("control_url",))).status_code == 200
    session = it.server.service.work.sessions["beside"]
    watching = asyncio.create_task(viewer.watch())
    feeding = asyncio.create_task(it.feed("beside", viewer.frames()))
    try:
        await it.until(lambda: viewer.latest >= QUIET)
        begun = len(viewer.sent)
        yield
        viewer.stopping = True
        await asyncio.gather(feeding, watching)
        await it.until(lambda: session.over)  # its figures are final then
    finally:
        for task in (feeding, watching):
            task.cancel()
        await asyncio.wait((feeding, watching))
    assert (session.reason, session.status.errors) == ("the input ended", 0), session.reason
    sent, seen, dropped = len(viewer.sent), len(viewer.seen), session.status.dropped
    assert seen + dropped == sent, f"{sent} pictures sent, {seen} seen, {dropped} dropped"
    quiet, during = viewer.p95(0, QUIET), viewer.p95(begun, len(viewer.sent))
    assert during < quiet + MOVED, f"p95 {during:.3f} s, before the fault {quiet:.3f} s"


async def one_stream(it: Stage, name: str) -> None:
    """From its start to its end."""
    assert (await it.start(name)).status_code == 200
    output = asyncio.create_task(it.output(name))
    await it.feed(name, clip(5), speed=None)
    assert await output
    await it.until(lambda: name not in it.server.service.work.sessions)
