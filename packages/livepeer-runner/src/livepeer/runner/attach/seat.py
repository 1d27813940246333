"""The seat of a registry: what one fills in, and what it is given for that.

A registry is a class derived from `Attachment` in a folder of its own, and a line in
`registries.REGISTRIES`. Nothing above this package knows which one it is served through.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from livepeer.runner.attach.callers import Caller
from livepeer.runner.attach.capability import Capability
from livepeer.runner.attach.client import TLS, RegistryClient
from livepeer.runner.attach.state import OrchestratorState, Status, Timing
from livepeer.runner.http.asgi import Scope
from livepeer.runner.settings import OrchestratorAddress

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listing:
    """What is to be listed at one orchestrator, and what its registry needs for that.

    `url` answers where this orchestrator reaches the service; it raises `RegistrationError` where
    it cannot, `OSError` where that may pass. `is_idle`: whether the service's own work allows to
    register again. `metadata` answers what is told to the public of a live runner. `secret_path`:
    the service is behind `Registration.door`. `on_change` is called whenever the state has changed.
    """

    address: OrchestratorAddress
    caller: Caller
    capability: Capability
    url: Callable[[], Awaitable[str]]
    is_idle: Callable[[], bool]
    metadata: Callable[[], Mapping[str, str]]
    secret_path: bool
    tls: TLS
    timing: Timing
    on_change: Callable[[], None]


class Attachment(ABC):
    """A service at one registry of one orchestrator, an async context manager: it registers in the
    background, stays registered, and takes its leave on the way out."""

    registry: ClassVar[str]
    """The name of the registry."""

    def __init__(self, listing: Listing, client: RegistryClient) -> None:
        self.state = OrchestratorState(listing.address.url, registry=self.registry)
        self.listing = listing
        self._http = client
        self._service_url = ""
        """Where the orchestrator was told to call, as it may be shown."""
        self._task: asyncio.Task[None] | None = None
        self._handed_over = False

    @abstractmethod
    async def _keep(self) -> None:
        """Register, and stay registered; return once the state is `refused`."""

    @abstractmethod
    async def _withdraw(self) -> str | None:
        """Unregister where the orchestrator may know us; why it may still list us, if it may."""

    def recognise(self, scope: Scope) -> Caller | None:
        """The caller of a request that this orchestrator was told to send in a way of its own; its
        path is then the one that was meant. None where it was not."""
        return None

    def hand_over(self) -> None:
        """Another process serves here: what it is reached by stays registered on the way out."""
        self._handed_over = True

    async def drain(self) -> None:
        """Be sent no new work; what runs goes on. The way out follows."""
        await self.leave()

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        self._task = asyncio.create_task(self._run(), name=f"registration at {self.state.url}")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            await self.leave()
        finally:
            await self._http.__aexit__()

    async def _run(self) -> None:
        try:
            await self._keep()
        except Exception as error:
            logger.exception("the registration at %s has stopped", self.state.url)
            # Its text stays in the log: `/health` is open to anybody.
            name = type(error).__name__
            self._change("refused", f"stopped by an error in this service: {name}")

    async def leave(self) -> None:
        """Unregister, unless that was done or handed over."""
        task, self._task = self._task, None
        if task is None:
            return
        try:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if self._handed_over:
                return
            failure = await self._withdraw()
        except BaseException:
            self._task = task  # cut short: leaving once more, as the way out does, unregisters
            raise
        if failure is not None:
            name = self.listing.capability.name
            logger.warning("%s may stay at %s: %s", name, self.state.url, failure)
        if self.state.status != "refused":
            self._change("unregistered")

    def _change(self, status: Status, reason: str | None = None) -> None:
        before, self.state = self.state, self.state.becomes(status, reason)
        if (before.status, before.reason) != (status, reason):
            name, url = self.listing.capability.name, self.state.url
            match status:
                case "registered":
                    logger.info("%s is registered at %s as %s", name, url, self._service_url)
                case "retrying":
                    logger.warning(
                        "%s is not registered at %s, trying again: %s", name, url, reason
                    )
                case "refused":
                    logger.error("%s is not registered at %s: %s", name, url, reason)
        self.listing.on_change()
