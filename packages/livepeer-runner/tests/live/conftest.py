"""A live pipeline served on a thread of this process, a trickle server beside it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from livepeer.runner import LivePipeline, create_app
from livepeer.runner.live import work
from livepeer.runner.settings import Settings
from livepeer.runner.testing import LocalServer
from livepeer.trickle import TrickleServer
from livepeer.trickle.media import AudioFrame, VideoFrame

from .beside import beside
from .left_behind import held, left_behind, no_more_than
from .streams import Stage, Streams, clip

__all__ = ["beside", "left_behind", "make_clip", "stage", "streams_of"]

MakeStage = Callable[..., AbstractAsyncContextManager[Stage]]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> MakeStage:
    """`async with stage(MyPipeline) as it: ...`; afterwards nothing of it is left.

    `linger` is short by default, since its readers are on this machine.
    """

    @asynccontextmanager
    async def make(
        cls: type[LivePipeline],
        *,
        trickle: dict[str, Any] | None = None,
        linger: float = 0.1,
        **settings: Any,
    ) -> AsyncIterator[Stage]:
        base = dataclasses.replace(Settings.from_env({}), **settings)
        new_event_loop().close()  # the first one opens what is the process's
        before = held()
        options = {"base_path": "/ai/trickle", "autocreate": False, **(trickle or {})}
        monkeypatch.setattr(work, "LINGER_SECONDS", linger)
        # No kept connection, so that what is open is somebody's.
        limits = httpx.Limits(max_keepalive_connections=0)
        async with TrickleServer(**options) as channels:
            with LocalServer(create_app(cls, base)) as server:
                try:
                    await asyncio.to_thread(server.wait_settled, 30)
                    async with httpx.AsyncClient(
                        base_url=server.url, timeout=60, limits=limits
                    ) as http:
                        yield Stage(server, channels, http)
                finally:
                    # Not by the exit, which blocks: the trickle server has to answer meanwhile, or
                    # a test that fails waits for all limits of the container.
                    await asyncio.to_thread(server.close)
        await no_more_than(before, held)

    return make


@pytest.fixture
def streams_of() -> Callable[[str], AbstractAsyncContextManager[Streams]]:
    """`async with streams_of(url) as it: ...`: of a container that is another process."""

    @asynccontextmanager
    async def make(url: str) -> AsyncIterator[Streams]:
        async with (
            TrickleServer(base_path="/ai/trickle", autocreate=False) as trickle,
            httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http,
        ):
            yield Streams(trickle, http)

    return make


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Of the kind that containers have."""
    return (uvicorn.Config("none").get_loop_factory() or asyncio.new_event_loop)()


@pytest.fixture
def make_clip() -> Callable[..., Iterator[VideoFrame | AudioFrame]]:
    return clip
