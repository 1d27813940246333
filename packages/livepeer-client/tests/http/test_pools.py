"""Connections are closed once and whole, by their owner or by the end of the loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from typing import Any

import pytest

from livepeer.client.http.pools import Pools


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("turns", range(14))
def test_a_gateway_that_a_thread_drops_as_its_loop_ends_is_closed_once(
    turns: int, late: bool
) -> None:
    """As `asyncio.run` ends a loop, whose last steps give others their turns: the drop comes before
    or within the closing of asynchronous generators, `turns` of the loop after or ahead of it."""
    told: list[dict[str, Any]] = []
    said: list[str] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    pools = [Pools()]

    async def farewell() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        said.append("goodbye")

    async def use() -> None:
        http = await pools[0].current()
        http.farewells.owe("it", farewell)

    def drop() -> None:
        thread = threading.Thread(target=pools.clear)
        thread.start()
        thread.join()

    async def pass_turns(count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def end() -> None:
        closing = asyncio.ensure_future(loop.shutdown_asyncgens())
        if late:
            await pass_turns(turns)
            drop()
        await closing

    loop.run_until_complete(use())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if not late:
            drop()
            loop.run_until_complete(pass_turns(turns))
        loop.run_until_complete(end())
        loop.close()
        gc.collect()
    assert told == []
    assert [str(each.message) for each in caught] == []
    assert said == ["goodbye"]
