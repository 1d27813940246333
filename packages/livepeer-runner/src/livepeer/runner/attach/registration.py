"""`Registration`: a service kept registered at all of its orchestrators while it runs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from livepeer.runner import redaction
from livepeer.runner.attach import gpu
from livepeer.runner.attach.address import guess_url
from livepeer.runner.attach.byoc.attachment import Attachment
from livepeer.runner.attach.byoc.client import TLS, OrchestratorClient
from livepeer.runner.attach.callers import Caller, Callers
from livepeer.runner.attach.capability import Capability
from livepeer.runner.attach.state import OrchestratorState, Timing
from livepeer.runner.exceptions import SettingsError
from livepeer.runner.settings import OrchestratorAddress, Secret, Settings, TLSMode
from livepeer.trickle.tls import Pin


class Registration:
    """Keeps any HTTP service registered as a capability; an async context manager.

    Enter it when the service is ready: it registers in the background, at each orchestrator on its
    own, and never fails the service. `state` tells how it stands. On the way out it unregisters,
    within a limit of time.

    Args:
        orchestrators: one URL or several, as `https://10.0.0.2:8935`.
        secret: the orchestrators' secret, or one for each.
        capability: what is registered.
        tls: `pin` (trust the certificate met first), `verify`, `insecure`, or a `Pin` or
            `ssl.SSLContext` to share.
        is_idle: called with an orchestrator's URL; False puts off registering there again. Jobs
            counted by `Caller.working()` do so anyway.
        port, host: where the service listens, to guess the URL of a capability that has none.
    """

    def __init__(
        self,
        orchestrators: str | Sequence[str],
        secret: str | Secret | Sequence[str | Secret],
        *,
        capability: Capability,
        tls: TLSMode | Pin | ssl.SSLContext = "pin",
        is_idle: Callable[[str], bool] | None = None,
        port: int | None = None,
        host: str = "0.0.0.0",
        timing: Timing | None = None,
    ) -> None:
        urls = [orchestrators] if isinstance(orchestrators, str) else list(orchestrators)
        secrets = [secret] * len(urls) if isinstance(secret, str | Secret) else list(secret)
        if len(secrets) != len(urls):
            raise ValueError(f"{len(secrets)} secrets for {len(urls)} orchestrators: one for each")
        if capability.url is None and not port:
            raise ValueError(
                "where do orchestrators reach this service? Give the capability a url "
                "(LIVEPEER_CAPABILITY_URL), or the port that the service listens on (PORT)"
            )
        self.capability = capability
        self.tls: TLS = _trust(tls)
        self.callers = Callers([url.rstrip("/") for url in urls])
        self._addresses = [
            OrchestratorAddress(caller.url, each if isinstance(each, Secret) else Secret(each))
            for caller, each in zip(self.callers, secrets, strict=True)
        ]
        redaction.everywhere.add(
            *(address.secret for address in self._addresses),
            *(caller.token for caller in self.callers),
        )
        self._is_idle = is_idle or (lambda url: True)
        self._port, self._host = port, host
        self._timing = timing or Timing()
        self._attachments: list[Attachment] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._description: str | None = None
        self._handed_over = False

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        name: str,
        capacity: int,
        description: str = "",
        port: int | None = None,
        is_idle: Callable[[str], bool] | None = None,
        tls: Pin | ssl.SSLContext | None = None,
    ) -> Registration | None:
        """As the environment says; None where it names no orchestrator. `name` and `capacity` are
        the pipeline's own, which the environment may override."""
        wanted = settings.registration
        if wanted is None:
            return None
        if wanted.kind != "byoc":
            raise SettingsError([f"LIVEPEER_REGISTRATION is {wanted.kind}: this version has byoc"])
        return cls(
            [address.url for address in wanted.orchestrators],
            [address.secret for address in wanted.orchestrators],
            capability=Capability(
                name=wanted.capability_name or name,
                url=wanted.capability_url,
                capacity=settings.capacity or capacity,
                price_per_unit=wanted.price_per_unit,
                price_scaling=wanted.price_scaling,
                currency=wanted.currency,
                description=description,
            ),
            tls=tls or settings.tls,
            is_idle=is_idle,
            port=settings.port if port is None else port,
            host=settings.host,
        )

    @property
    def state(self) -> tuple[OrchestratorState, ...]:
        """How the registration stands at each orchestrator, in the order given."""
        if not self._attachments:
            return tuple(OrchestratorState(address.url) for address in self._addresses)
        return tuple(attachment.state for attachment in self._attachments)

    def authenticate(self, authorization: str | None) -> Caller | None:
        """The orchestrator that an `Authorization` header belongs to; None: answer 401."""
        return self.callers.authenticate(authorization)

    def hand_over(self) -> None:
        """Stay registered on the way out: another process serves there, with the same tokens."""
        self._handed_over = True

    async def settled(self) -> tuple[OrchestratorState, ...]:
        """Wait until each orchestrator has taken or refused the registration."""
        while any(state.status not in ("registered", "refused") for state in self.state):
            self._changed.clear()
            await self._changed.wait()
        return self.state

    async def __aenter__(self) -> Self:
        if self._attachments:
            raise RuntimeError("a Registration is entered once: make another one")
        async with AsyncExitStack() as stack:
            for address, caller in zip(self._addresses, self.callers, strict=True):
                client = OrchestratorClient(
                    address, tls=self.tls, timeout=self._timing.request, token=caller.token
                )
                self._attachments.append(
                    Attachment(
                        await stack.enter_async_context(client),
                        caller,
                        capability=self.capability,
                        body=self._body,
                        is_idle=self._is_idle,
                        timing=self._timing,
                        on_change=self._changed.set,
                    )
                )
            self._tasks = [asyncio.create_task(each.run()) for each in self._attachments]
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        async with self._stack:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if not self._handed_over:
                await asyncio.gather(*(each.withdraw() for each in self._attachments))

    async def _body(self, orchestrator_url: str) -> dict[str, Any]:
        caller = next(each for each in self.callers if each.url == orchestrator_url)
        url = self.capability.url
        if url is None:
            assert self._port is not None
            url = await guess_url(orchestrator_url, self._port, self._host)
        body = self.capability.body(url=url, token=caller.token)
        if self._description is None:
            hardware = gpu.describe(await gpu.read_gpus())
            parts = (self.capability.description, f"[{hardware}]" if hardware else "")
            self._description = " ".join(part for part in parts if part)
        return {**body, "description": self._description}


def _trust(tls: TLSMode | Pin | ssl.SSLContext) -> TLS:
    match tls:
        case "verify":
            return True
        case "pin":
            return Pin(renew=True)
        case "insecure":
            return False
        case Pin() | ssl.SSLContext():
            return tls
    raise ValueError(f"tls is {tls!r}: write verify, pin or insecure")
