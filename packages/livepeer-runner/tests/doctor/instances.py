"""A pipeline with a fault, served in this process as if it were one of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import uvicorn

from livepeer.runner.author.pipeline import PipelineBase
from livepeer.runner.running.service import Service
from livepeer.runner.serving.app import create_app
from livepeer.runner.serving.listener import bind
from livepeer.runner.serving.server import server_config, uvicorn_server
from livepeer.runner.settings import Limits, Settings
from livepeer.runner.targets.hosting import OpenTarget
from livepeer.runner.targets.image_container import TargetImage
from livepeer.runner.targets.instance import TargetInstance

from . import faults


class OwnProcess:
    """This process, as a container's: a SIGTERM is a drain. `code` is what it ends with;
    `stays`: it leaves without a word to its orchestrator."""

    def __init__(
        self, service: Service, server: uvicorn.Server, serving: asyncio.Task[None], how: Ending
    ) -> None:
        self._service, self._server, self._serving, self._how = service, server, serving, how
        self._ending: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return os.getpid()

    @property
    def returncode(self) -> int | None:
        return self._how.code if self._serving.done() else None

    def terminate(self) -> None:
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(), name="own process")

    async def wait(self) -> int:
        await asyncio.shield(self._serving)
        return self._how.code

    async def settled(self) -> None:
        await self._service.lifecycle.wait_settled()

    async def _end(self) -> None:
        if self._how.stays:
            self._service.hand_over()
        await self._service.drain()
        self._server.should_exit = True

    async def close(self) -> None:
        self.terminate()
        assert self._ending is not None
        await self._ending
        await self._serving


@dataclasses.dataclass(frozen=True)
class Ending:
    code: int = 0
    stays: bool = False


@asynccontextmanager
async def served(
    cls: type[PipelineBase], fault: faults.Fault, ending: Ending, environ: Mapping[str, str]
) -> AsyncIterator[TargetInstance]:
    listener = bind("127.0.0.1", 0)
    settings = dataclasses.replace(
        Settings.from_env(environ),
        port=listener.getsockname()[1],
        limits=Limits(max_body=1 << 20),
    )
    app = create_app(cls, settings)
    app.add_middleware(faults.Planted, fault=fault)
    server = uvicorn_server(server_config(app))
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="own server")
    process = OwnProcess(app.state.service, server, serving, ending)
    try:
        yield TargetInstance(f"http://127.0.0.1:{settings.port}", process, "127.0.0.1", lambda: "")
    finally:
        await process.close()


@asynccontextmanager
async def open_target(
    cls: type[PipelineBase],
    fault: faults.Fault,
    *,
    capacity: int = 1,
    ending: Ending = Ending(),
    image: TargetImage | None = None,
) -> AsyncIterator[OpenTarget]:
    environ = {"LIVEPEER_CAPACITY": str(capacity), "LIVEPEER_QUEUE_TIMEOUT": "0.3"}

    def launch(more: Mapping[str, str]) -> AbstractAsyncContextManager[TargetInstance]:
        return served(cls, fault, ending, {**environ, **more})

    async with served(cls, fault, ending, environ) as instance:
        assert isinstance(instance.process, OwnProcess)
        await instance.process.settled()
        yield OpenTarget(
            instance.url,
            instance.process,
            launch,
            instance.host,
            image,
        )
