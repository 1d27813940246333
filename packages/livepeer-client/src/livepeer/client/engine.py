"""What a gateway stands on: its settings, its connections, and those who make its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from livepeer.client.calls import CallArguments, Calls
from livepeer.client.config import Config, wei
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.pools import Pools
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.network.dispatch import Dispatcher
from livepeer.client.network.jobs import RunningJob
from livepeer.client.network.schemas import Schemas
from livepeer.client.payments.budget import Budget
from livepeer.client.payments.wallet import Wallet, signer_for
from livepeer.client.portal import Portal

if TYPE_CHECKING:
    from livepeer.client.apps.opening import AppOpening
    from livepeer.client.live.session import LiveSession


class Engine:
    """The parts of one gateway, with one life for all. Safe across threads and event loops."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._trust = TlsPolicy(config.tls)
        self.wallet = Wallet(config, self._trust, signer_for(config, self._trust))
        self.dispatcher = Dispatcher(config, self._trust, self.wallet)
        self.schemas = Schemas(self.dispatcher)
        self.calls = Calls(self.dispatcher, self.schemas)
        self.pools = Pools()
        self.portal = Portal()

    def deadline(self, timeout: float | None) -> Deadline:
        """That of one call."""
        return Deadline(self.config.timeout if timeout is None else timeout)

    async def start(self, call: CallArguments) -> RunningJob:
        """The call's answer, begun."""
        deadline = self.deadline(call.timeout)
        http = await self.pools.current()
        return await self.calls.start(http, call, deadline, self.budget(call.max_spend))

    def budget(self, max_spend: float | Fraction | None) -> Budget:
        """That of one call."""
        return self.wallet.budget.call(wei("max_spend", max_spend))

    def live(
        self,
        capability: str,
        params: Mapping[str, Any] | None,
        model: str | None,
        channels: Mapping[str, bool],
        outputs: Mapping[str, Any],
        timeout: float | None,
        max_spend: float | Fraction | None,
    ) -> LiveSession:
        """A live session that is not begun; `channels` are `publish`, `subscribe` and `data`."""
        # The transport is imported by those who go live alone.
        from livepeer.client.live.calls import LiveCalls
        from livepeer.client.live.session import LiveSession
        from livepeer.client.live.stream import Wanted

        hosts = self.config.trickle_hosts
        calls = LiveCalls(self.dispatcher, self.schemas, self.pools, self._trust, hosts)
        wanted = Wanted(capability, params, model, self.budget(max_spend), **channels)
        return LiveSession(calls, wanted, timeout, outputs)

    def session(
        self, app: str, timeout: float | None, max_spend: float | Fraction | None
    ) -> AppOpening:
        """A session with an app that is not begun."""
        from livepeer.client.apps.calls import AppCalls
        from livepeer.client.apps.opening import AppOpening

        calls = AppCalls(self.dispatcher, self.pools, self._trust, self.budget(max_spend))
        limit = self.deadline(timeout).seconds
        return AppOpening(calls, app, limit, self.config.trickle_hosts, self.portal)

    def close(self) -> None:
        """Close the connections of the sync methods. A later call opens new ones."""
        if self.portal.started:
            self.portal.call(self.pools.aclose())
            self.portal.close()

    async def aclose(self) -> None:
        """Close the connections of this loop, and those of the sync methods."""
        try:
            await self.pools.aclose()
        finally:
            if self.portal.started:
                await asyncio.to_thread(self.close)
