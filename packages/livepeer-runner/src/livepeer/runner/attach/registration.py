"""`Registration`: a service kept registered at all of its orchestrators while it runs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Literal, Self

from livepeer.runner import redaction
from livepeer.runner.attach.address import guess_url
from livepeer.runner.attach.callers import Caller, Callers
from livepeer.runner.attach.capability import Capability
from livepeer.runner.attach.client import TLS
from livepeer.runner.attach.registries import chosen
from livepeer.runner.attach.seat import Listing
from livepeer.runner.attach.state import OrchestratorState, Timing
from livepeer.runner.errors import Unauthorized
from livepeer.runner.http.asgi import App, Receive, Scope, Send, header
from livepeer.runner.settings import (
    OrchestratorAddress,
    RegistrationKind,
    Secret,
    Settings,
    TLSMode,
)
from livepeer.trickle.tls.aiohttp_pin import Pin

_CALLER = "livepeer.caller"


class Registration:
    """Keeps any HTTP service registered as a capability; an async context manager.

    Enter it when the service is ready: it registers in the background, at each orchestrator on its
    own, and never fails the service. `state` tells how it stands. On the way out it unregisters,
    within a limit of time.

    - `orchestrators`: one URL or several, as `https://10.0.0.2:8935`.
    - `secret`: the orchestrators' secret, or one for each.
    - `capability`: what is registered.
    - `tls`: `pin` (trust the certificate met first), `verify`, `insecure`, or a `Pin` or
      `ssl.SSLContext` to share.
    - `is_idle`: called with an orchestrator's URL; False puts off registering there again. Jobs
      counted by `Caller.working()` do so anyway.
    - `port`, `host`: where the service listens, to guess the URL of a capability that has none.
    - `kind`: the registry of the orchestrators: `byoc`, `live-runner` or `both`.
    - `metadata`: answers what the public is told of a live runner, the most important first; asked
      once, before the first registration.
    - `secret_path`: orchestrators are told a URL with a secret in its path, where their registry
      has no other credential; requests have to come through `door`.
    - `identity`: what the credentials of the callers are made of, for processes that serve in turn;
      by default each process has its own.
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
        kind: RegistrationKind = "byoc",
        metadata: Callable[[], Mapping[str, str]] | None = None,
        secret_path: bool = False,
        identity: Secret | None = None,
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
        addresses = [
            OrchestratorAddress(url.rstrip("/"), each if isinstance(each, Secret) else Secret(each))
            for url, each in zip(urls, secrets, strict=True)
        ]
        listed = [(address, registry) for address in addresses for registry in chosen(kind)]
        self.callers = Callers([address.url for address, _ in listed], identity)
        redaction.everywhere.add(
            *(address.secret for address in addresses),
            *(caller.token for caller in self.callers),
        )
        self._changed = asyncio.Event()
        self._attachments = tuple(
            registry(
                Listing(
                    address,
                    caller,
                    capability,
                    url=partial(self._url, address.url),
                    is_idle=partial(is_idle, address.url) if is_idle else lambda: True,
                    metadata=metadata or dict,
                    secret_path=secret_path,
                    tls=self.tls,
                    timing=timing or Timing(),
                    on_change=self._changed.set,
                )
            )
            for (address, registry), caller in zip(listed, self.callers, strict=True)
        )
        self._port, self._host = port, host
        self._stack = AsyncExitStack()
        self._entered = False

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
        version: str = "",
        mode: Literal["single-shot", "persistent"] = "single-shot",
        metadata: Callable[[], Mapping[str, str]] | None = None,
        secret_path: bool = False,
    ) -> Registration | None:
        """As the environment says; None where it names no orchestrator. `name` and `capacity` are
        the pipeline's own, which the environment may override."""
        wanted = settings.registration
        if wanted is None:
            return None
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
                app=wanted.app,
                mode=mode,
                app_version=version,
                price_usd=wanted.app_price,
                price_unit=wanted.app_price_unit,
            ),
            tls=tls or settings.tls,
            is_idle=is_idle,
            port=settings.port if port is None else port,
            host=settings.host,
            kind=wanted.kind,
            metadata=metadata,
            secret_path=secret_path,
            identity=wanted.identity,
        )

    @property
    def state(self) -> tuple[OrchestratorState, ...]:
        """How the registration stands at each orchestrator, in the order given."""
        return tuple(attachment.state for attachment in self._attachments)

    def admit(self, scope: Scope) -> Caller:
        """The orchestrator that sent this request. Raises `Unauthorized` where none did."""
        known: Caller | None = scope.get(_CALLER)
        caller = known or self.authenticate(header(scope, b"authorization").decode("latin-1"))
        if caller is None:
            raise Unauthorized("the bearer token is missing or is not one that was given out")
        return caller

    def door(self, app: App) -> App:
        """`app` behind the secret paths that orchestrators were told; other paths are as before."""

        async def served(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] in ("http", "websocket"):
                for attachment in self._attachments:
                    if (caller := attachment.recognise(scope)) is not None:
                        scope[_CALLER] = caller
                        break
            await app(scope, receive, send)

        return served

    def authenticate(self, authorization: str | None) -> Caller | None:
        """The orchestrator that an `Authorization` header belongs to; None: answer 401."""
        return self.callers.authenticate(authorization)

    def hand_over(self) -> None:
        """Stay registered on the way out: another process serves there, with the same identity."""
        for attachment in self._attachments:
            attachment.hand_over()

    async def settled(self) -> tuple[OrchestratorState, ...]:
        """Wait until each orchestrator has taken or refused the registration."""
        while any(state.status not in ("registered", "refused") for state in self.state):
            self._changed.clear()
            await self._changed.wait()
        return self.state

    async def drain(self) -> None:
        """Be sent no new work; what runs goes on. Leaving the context follows, once it is done."""
        await asyncio.gather(*(attachment.drain() for attachment in self._attachments))

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a Registration is entered once: make another one")
        self._entered = True
        async with AsyncExitStack() as stack:
            for attachment in self._attachments:
                await stack.enter_async_context(attachment)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        async with self._stack:
            # Of all, before anything else: whoever did not get there leaves once more, as the
            # stack does, which also raises what went wrong.
            leaving = (attachment.leave() for attachment in self._attachments)
            await asyncio.gather(*leaving, return_exceptions=True)

    async def _url(self, orchestrator_url: str) -> str:
        if self.capability.url is not None:
            return self.capability.url
        assert self._port is not None
        return await guess_url(orchestrator_url, self._port, self._host)


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
