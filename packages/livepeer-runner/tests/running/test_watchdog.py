"""An async hook that blocks is named, with the line and the seconds; one that waits is not."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from livepeer.runner import LivePipeline, Pipeline

Serve = Any


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "livepeer.runner.running.watchdog"
    ]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "loop-watchdog"]


class Blocks(Pipeline):
    async def setup(self) -> None:
        await asyncio.sleep(0)

    async def predict(self, seconds: float) -> None:
        self.think(seconds)

    def think(self, seconds: float) -> None:
        time.sleep(seconds)


async def test_a_blocking_call_in_an_async_predict_is_named_with_its_line_and_its_time(
    served: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(Blocks) as s:
        await s.post(seconds=1.2)
        await s.until(lambda: bool(warnings(caplog)))
        (told,) = warnings(caplog)
        assert told.startswith("Blocks.predict held up the event loop for ")
        assert float(told.split(" for ")[1].split(" s")[0]) > 0.5
        line = Blocks.think.__code__.co_firstlineno + 1
        assert f"test_watchdog.py:{line}" in told
        assert "asyncio.to_thread" in told
        assert s.service.metrics.blocked_seconds._value.get() > 0.5
    async with asyncio.timeout(30):
        while threads():  # noqa: ASYNC110 — there is no event for it
            await asyncio.sleep(0.01)


async def test_a_blocking_hook_of_a_live_class_is_named(
    served: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    class Live(LivePipeline):
        async def warm_up(self) -> None:
            time.sleep(1.2)  # noqa: ASYNC251 — the mistake itself

    async with served(Live) as s:
        await s.until(lambda: bool(warnings(caplog)))
        assert warnings(caplog)[0].startswith("Live.warm_up held up the event loop for ")


async def test_a_hook_that_waits_or_runs_in_a_thread_or_others_that_block_are_not_told_of(
    served: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    class Waits(Pipeline):
        async def predict(self) -> None:
            await asyncio.to_thread(time.sleep, 1.2)

    async with served(Waits) as s:
        await s.post()
        time.sleep(1.2)  # noqa: ASYNC251 — whoever shares the loop is no hook
        await asyncio.sleep(0.3)
    assert warnings(caplog) == []


async def test_a_class_without_async_code_has_no_watchdog(served: Serve) -> None:
    class Sync(Pipeline):
        def predict(self) -> None: ...

    before = threads()
    async with served(Sync):
        assert set(threads()) <= set(before)  # one of an earlier test may end meanwhile
