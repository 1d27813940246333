"""The local orchestrator itself: composes its doors and owns their lifetime."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Any

from aiohttp import web

from livepeer.runner.devnet import listener
from livepeer.runner.devnet.byoc.accounts import JobAccounts
from livepeer.runner.devnet.byoc.capabilities import Capabilities
from livepeer.runner.devnet.byoc.door import ByocDoor
from livepeer.runner.devnet.byoc.jobs import PREFIX, Jobs
from livepeer.runner.devnet.byoc.streams import TRICKLE_PATH, ByocStreams
from livepeer.runner.devnet.certificate import server_context
from livepeer.runner.devnet.go_http import error, expects_continue, redirect
from livepeer.runner.devnet.live_runners.channels import RunnerChannels
from livepeer.runner.devnet.live_runners.door import LiveRunnerDoor, live_runner_door
from livepeer.runner.devnet.live_runners.registry import (
    HEARTBEAT_SECONDS,
    TTL_SECONDS,
    RunnerRegistry,
)
from livepeer.runner.devnet.live_runners.states import RunnerRefusal
from livepeer.runner.devnet.live_runners.static import StaticRunners
from livepeer.runner.devnet.payments.chain import LocalChain
from livepeer.runner.devnet.payments.recipient import Recipient
from livepeer.runner.devnet.payments.tickets import TICKET_EV
from livepeer.runner.devnet.payments.till import Till
from livepeer.runner.devnet.upstream import UpstreamClient
from livepeer.runner.devnet.urls import clean_path
from livepeer.trickle.server import TrickleServer

logger = logging.getLogger(__name__)


class LocalOrchestrator:
    """An orchestrator of a local network: BYOC capabilities and live runners, free unless it has a
    chain of test money, nothing kept.

    Speaks what an offchain go-livepeer orchestrator speaks, with its traps: capacity of BYOC is
    counted but not enforced, places leak, a 401 or a dead connection drops a capability; a session
    of a live runner never ends by itself. For development and tests on one machine.

    - `host`: address to listen on; anything but loopback lets others use it without credentials.
    - `port`: 0 takes a free one.
    - `secret`: what a registration has to show; random unless given. With an empty one no live
      runner can register itself.
    - `tls`: serve HTTPS, with a self-signed certificate made at each start.
    - `idle_timeout`: seconds without a segment after which a trickle channel is swept.
    - `sweep_interval`: seconds between two looks for such channels.
    - `live_runners`: whether there is a registry of live runners (`-useLiveRunners`).
    - `runner_address`: its URL for live runners (`-liveRunnerAddr`); the default is `url`.
    - `heartbeat_interval`: seconds between two heartbeats, as live runners are told.
    - `heartbeat_ttl`: seconds without one after which a live runner is gone.
    - `check_prices`: refuse the `price_info` of live runners that an orchestrator on a chain
      refuses, such as a price of 0. Nothing has to be paid all the same.
    - `chain`: what has a price costs it, as on a chain, live runners and BYOC capabilities alike:
      test money, worth nothing anywhere. A `LocalSigner` of the same chain pays, or a key that the
      chain knows (`LocalChain.fund`). The default: no chain.
    - `ticket_ev`: wei that a ticket is to be worth (`-ticketEV`).

    Example:
        ```python
        async with LocalOrchestrator() as orchestrator:
            print(orchestrator.url, orchestrator.secret)
        ```
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        secret: str | None = None,
        tls: bool = True,
        idle_timeout: float = 300.0,
        sweep_interval: float = 60.0,
        live_runners: bool = True,
        runner_address: str | None = None,
        heartbeat_interval: float = HEARTBEAT_SECONDS,
        heartbeat_ttl: float = TTL_SECONDS,
        check_prices: bool = False,
        chain: LocalChain | None = None,
        ticket_ev: int = TICKET_EV,
    ) -> None:
        self.capabilities = Capabilities()
        self.secret = secrets.token_urlsafe(24) if secret is None else secret
        self._host, self._port, self._tls = host, port, tls
        self._trickle = TrickleServer(
            base_path=TRICKLE_PATH,
            autocreate=False,
            idle_timeout=idle_timeout,
            sweep_interval=sweep_interval,
        )
        self._live_runners = live_runners
        self._runner_address = runner_address
        self._interval, self._ttl = heartbeat_interval, heartbeat_ttl
        self._check_prices = check_prices or chain is not None
        self._chain, self._ticket_ev = chain, ticket_ev
        self._running: _Running | None = None

    def __repr__(self) -> str:
        address = self._running.address if self._running is not None else "not started"
        return f"LocalOrchestrator(url={address!r})"

    @property
    def url(self) -> str:
        """Where it listens, such as `https://127.0.0.1:8935`; without a slash at the end."""
        return self._started.address

    @property
    def trickle(self) -> TrickleServer:
        """The channels of the streams; they are below `/ai/trickle/` of `url`."""
        return self._trickle

    @property
    def runners(self) -> RunnerRegistry:
        """The live runners of this moment. Raises `RuntimeError` where there is no registry."""
        return self._live.registry

    @property
    def income(self) -> Fraction:
        """Wei of all tickets that it has taken; 0 without a chain."""
        recipient = self._started.recipient
        return recipient.income if recipient is not None else Fraction(0)

    async def register_live_runners(self, config: bytes) -> list[dict[str, Any]]:
        """Takes the content of a `runners.json`, as go-livepeer does at `-liveRunnerConfig`.

        Returns what became of each entry. Raises `ValueError` for one that it would refuse.
        """
        try:
            return await self._live.static.register(config)
        except RunnerRefusal as refusal:
            raise ValueError(str(refusal)) from None

    @property
    def _started(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the orchestrator has not been started: use `async with`")
        return self._running

    @property
    def _live(self) -> LiveRunnerDoor:
        live = self._started.live
        if live is None:
            raise RuntimeError("the orchestrator has no live runners: LocalOrchestrator(...)")
        return live

    async def __aenter__(self) -> LocalOrchestrator:
        async with contextlib.AsyncExitStack() as stack:
            upstream = await stack.enter_async_context(UpstreamClient())
            listening = socket.create_server((self._host, self._port))
            stack.callback(listening.close)
            host = f"[{self._host}]" if ":" in self._host else self._host
            scheme = "https" if self._tls else "http"
            address = f"{scheme}://{host}:{listening.getsockname()[1]}"
            # A start forgets all, like a restart of the real one.
            self.capabilities = Capabilities(price_feed=self._chain is not None)
            recipient = None
            if self._chain is not None:
                recipient = Recipient(self._chain, self._ticket_ev)
            byoc = self._byoc(upstream, address, recipient, stack)
            live = None
            if self._live_runners:
                door = self._live_runner_door(upstream, address, recipient)
                live = await stack.enter_async_context(door)
            app = listener.application()
            self._trickle.mount(app, url=address)
            # The application ends it too, if it is not cancelled at what comes before.
            stack.push_async_callback(self._trickle.aclose)
            listener.handle(app, _Dispatch(byoc, live, paid=self._chain is not None))
            context = server_context(self._host) if self._tls else None
            await stack.enter_async_context(listener.serve(app, listening, context))
            self._running = _Running(address, live, recipient, stack.pop_all())
        logger.info("local orchestrator listens on %s", address)
        return self

    def _byoc(
        self,
        upstream: UpstreamClient,
        address: str,
        recipient: Recipient | None,
        stack: contextlib.AsyncExitStack,
    ) -> ByocDoor:
        accounts = JobAccounts(self.capabilities, recipient)
        jobs = Jobs(self.capabilities, accounts, upstream)
        streams = ByocStreams(self.capabilities, accounts, upstream, self._trickle, address)
        stack.push_async_callback(streams.aclose)
        return ByocDoor(self.capabilities, jobs, streams, address, self.secret)

    def _live_runner_door(
        self, upstream: UpstreamClient, address: str, recipient: Recipient | None
    ) -> contextlib.AbstractAsyncContextManager[LiveRunnerDoor]:
        runner_address = (self._runner_address or address).rstrip("/")
        channels = RunnerChannels(
            self._trickle,
            public=address + TRICKLE_PATH,
            internal=runner_address + TRICKLE_PATH,
        )
        registry = RunnerRegistry(
            secret=self.secret,
            address=address,
            runner_address=runner_address,
            channels=channels,
            check_prices=self._check_prices,
            ttl=self._ttl,
        )
        static = StaticRunners(registry, upstream)
        till = Till(recipient, address) if recipient is not None else None
        return live_runner_door(registry, channels, static, self._interval, till)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        running, self._running = self._started, None
        await running.stack.aclose()


@dataclass(frozen=True)
class _Running:
    """What there is from start to stop."""

    address: str
    live: LiveRunnerDoor | None
    recipient: Recipient | None
    stack: contextlib.AsyncExitStack


class _Dispatch:
    """Leads a request to its door."""

    def __init__(self, byoc: ByocDoor, live: LiveRunnerDoor | None, *, paid: bool) -> None:
        self._paid = paid
        self._byoc = byoc
        self._live = live

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        response = await self._route(request)
        if expects_continue(request) and response.status >= 400:
            response.force_close()
        return response

    async def _route(self, request: web.Request) -> web.StreamResponse:
        if self._live is not None:
            # Public proxies go before the router, which would clean their paths.
            response = await self._live.public(request)
            if response is not None:
                return response
        path = request.raw_path.partition("?")[0]
        cleaned = clean_path(path)
        if LiveRunnerDoor.takes(cleaned, paid=self._paid):
            if self._live is None:
                return error(404, "live runners are not supported")
            return await self._live.answer(request)
        if cleaned == PREFIX.rstrip("/"):
            cleaned = PREFIX
        if cleaned != path:
            return redirect(request, cleaned)
        return await self._byoc.answer(request)
