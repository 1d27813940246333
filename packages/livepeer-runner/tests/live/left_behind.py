"""What a process holds after its work, beside what it held before."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import platform
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import psutil
import pytest

from .streams import Stage, until

MEMORY = 24 << 20
"""A stream's codecs and buffers are several MB, of which allocators keep some."""


def held(it: Stage | None = None) -> Counter[str]:
    """What this process holds: tasks, threads by name, file descriptors; of a container more.

    The loop's own threads, for what blocks, are nobody's; a container's are as many as it has
    slots, made when they are needed first.
    """
    gc.collect()
    names = [thread.name for thread in threading.enumerate()]
    found = Counter(f"thread {name}" for name in names if not name.startswith("asyncio_"))
    found["tasks of the test"] = len(asyncio.all_tasks())
    found["file descriptors"] = psutil.Process().num_fds()
    if it is not None:
        service = it.server.service
        pool = [name for name in names if name.startswith(f"{service.cls.pipeline_id}-")]
        for name in pool:
            del found[f"thread {name}"]
        found["worker threads too many"] = max(0, len(pool) - service.capacity)
        found["abandoned threads"] = service.threads.abandoned
        found["tasks of the container"] = it.server.tasks
        found["slots taken"] = service.lifecycle.slots.taken
        found["sessions"] = len(service.work.sessions.running)
    return found


async def no_more_than(
    before: Counter[str], now: Callable[[], Counter[str]], limit: float = 20
) -> None:
    """Connections close and tasks end a moment after what they were for."""
    try:
        await until(lambda: now() <= before, limit)
    except TimeoutError:
        raise AssertionError(f"left behind: {now() - before}") from None


def resident() -> int:
    """Resident bytes, without those that the C library keeps for later."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


LeftBehind = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture
def left_behind() -> LeftBehind:
    """`async with left_behind(stage): ...`

    Afterwards no stream, task, thread, file descriptor or MB is more than before, except `memory`
    bytes and the threads `abandoned`.
    """

    @asynccontextmanager
    async def look(it: Stage, *, memory: int = MEMORY, abandoned: int = 0) -> AsyncIterator[None]:
        before, resident_before = held(it), resident()
        yield
        for stream in list(it.server.service.work.sessions):
            await it.post("stop", stream)
        await no_more_than(before + Counter({"abandoned threads": abandoned}), lambda: held(it))
        assert it.server.service.threads.abandoned == abandoned
        more = resident() - resident_before
        assert more < memory, f"{more >> 20} MB more than before"

    return look
