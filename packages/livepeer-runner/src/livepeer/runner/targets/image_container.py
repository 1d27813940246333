"""An image, run by docker or podman."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property

from livepeer.runner.packaging.engine import ContainerEngine, EngineError
from livepeer.runner.targets.container import (
    PORT,
    ImageConfig,
    TargetContainer,
    image_config,
    pull,
    started,
)
from livepeer.runner.targets.instance import TargetInstance
from livepeer.runner.targets.reference import TargetError
from livepeer.trickle.text import printable

RUNNING = ("docker", "podman")


@dataclass(frozen=True, slots=True)
class TargetImage:
    """An image in an engine's store. `pulled`: seconds that fetching it took; None: it was here.
    `read_only`: whether it is run without a writable root; `unwritable`: why that was given up."""

    engine: ContainerEngine
    name: str
    config: ImageConfig
    pulled: float | None = None
    read_only: bool = True
    unwritable: str | None = None

    def writable(self, why: str | None = None) -> TargetImage:
        """The same, run with a writable root."""
        return replace(self, read_only=False, unwritable=why)

    @property
    def port(self) -> int:
        return self.config.ports[0] if self.config.ports else PORT


@dataclass(frozen=True)
class ContainerProcess:
    """The first process of a container; engines are asked in threads, so that nothing waits."""

    container: TargetContainer

    @cached_property
    def pid(self) -> int:
        return self.container.pid

    @property
    def returncode(self) -> int | None:
        return self.container.status

    def terminate(self) -> None:
        if self.container.status is None:
            self.container.terminate()

    async def wait(self) -> int:
        return await asyncio.to_thread(self.container.wait)


async def image_target(name: str, engine: str | None = None) -> TargetImage:
    """The image, pulled if it is not in the engine's store. Raises `TargetError`."""
    return await asyncio.to_thread(_image_target, name, engine)


def _image_target(name: str, wanted: str | None) -> TargetImage:
    try:
        engine = _engine(wanted)
        config, pulled = image_config(engine, name), None
        if config is None:
            began = time.monotonic()
            pull(engine, name)
            pulled = time.monotonic() - began
            config = image_config(engine, name)
    except EngineError as error:
        raise TargetError(f"{error}. A pipeline is named by its file or folder") from None
    if config is None:
        raise TargetError(f"{name} was pulled, and {engine.name} has no such image")
    return TargetImage(engine, name, config, pulled)


def _engine(wanted: str | None) -> ContainerEngine:
    if wanted not in (None, *RUNNING):
        raise EngineError(f"{wanted} runs no image in the background: say docker or podman")
    told = []
    for name in RUNNING if wanted is None else (wanted,):
        try:
            return ContainerEngine.find(name)
        except EngineError as error:
            told.append(str(error))
    raise EngineError("an image is run by docker or podman: " + "; ".join(told))


@asynccontextmanager
async def image_instance(
    image: TargetImage, environ: Mapping[str, str], *, network: bool = True
) -> AsyncIterator[TargetInstance]:
    """A container of the image for the length of the block; it is removed at the end. Raises
    `TargetError`."""
    running = started(
        image.engine,
        image.name,
        environ=environ,
        port=image.port,
        network=network,
        read_only=image.read_only,
    )
    try:
        starting = asyncio.ensure_future(asyncio.to_thread(running.__enter__))
        try:
            container = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait((starting,))  # nothing stops the thread: what it starts is removed
            if starting.exception() is None:
                await asyncio.shield(asyncio.to_thread(running.__exit__, None, None, None))
            raise
        try:
            yield TargetInstance(
                url=await asyncio.to_thread(lambda: container.url) if network else "",
                process=ContainerProcess(container),
                host=await asyncio.to_thread(_host, container) if network else None,
                tail=lambda: _tail(container),
            )
        finally:
            # Not in the way of a cancellation: what is removed is removed.
            await asyncio.shield(asyncio.to_thread(running.__exit__, None, None, None))
    except EngineError as error:
        raise TargetError(str(error)) from None


def _host(container: TargetContainer) -> str | None:
    """This machine, as the container sees it; an engine in a virtual machine has another."""
    address = container.gateway
    with suppress(OSError), socket.socket() as probe:
        probe.bind((address, 0))
        return address
    return None


def _tail(container: TargetContainer) -> str:
    said = printable(container.log, lines=True)
    return f":\n{said}" if said else ""
