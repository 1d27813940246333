"""A pipeline served on this test's own event loop, by the real server on a free port."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest

from livepeer.runner.author.pipeline import PipelineBase
from livepeer.runner.local.http import listening
from livepeer.runner.running.service import Service
from livepeer.runner.serving.app import create_app
from livepeer.runner.serving.listener import bind
from livepeer.runner.settings import Settings

LIMIT = 60.0


class Served:
    """The service and a client of it."""

    def __init__(self, service: Service, http: httpx.AsyncClient, port: int) -> None:
        self.service = service
        self.http = http
        self.port = port

    @property
    def slots_taken(self) -> int:
        return self.service.lifecycle.slots.taken

    async def post(self, **input: Any) -> httpx.Response:
        return await self.http.post("/predict", json=input)

    async def until(self, done: Callable[[], bool]) -> None:
        """For state that nothing can be awaited for: looked at until it is so, within a limit."""
        async with asyncio.timeout(LIMIT):
            while not done():  # noqa: ASYNC110 — there is no event for it
                await asyncio.sleep(0.005)


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def served() -> Serve:
    """`async with served(Class, setting=...) as s:`; ready, unless `wait=False`."""

    @asynccontextmanager
    async def serve(
        cls: type[PipelineBase], *, wait: bool = True, **settings: Any
    ) -> AsyncIterator[Served]:
        listener = bind("127.0.0.1", 0)
        port = listener.getsockname()[1]
        app = create_app(cls, dataclasses.replace(Settings(), port=port, **settings))
        service: Service = app.state.service
        limits = httpx.Limits(max_connections=None)
        async with (
            listening(app, listener) as url,
            httpx.AsyncClient(base_url=url, timeout=LIMIT, limits=limits, trust_env=False) as http,
        ):
            if wait:
                async with asyncio.timeout(LIMIT):
                    await service.lifecycle.wait_settled()
            yield Served(service, http, port)

    return serve
