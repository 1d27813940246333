"""A local network that costs test money, a caller who pays, and a clock that runs faster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from livepeer.client import Gateway
from livepeer.client.payments.pace import Pace
from livepeer.runner.devnet import LocalChain, LocalOrchestrator, LocalSigner

from .live_runners import ForeignApp, heartbeat, serving, until

PRICE: dict[str, Any] = {"price": 0.01728, "currency": "usd", "unit": "hour"}
"""2.4e9 wei a second at 2,000 USD for an ether."""
WEI = 2_400_000_000
TICKET = 8_000_000_000


class FastClock:
    """Seconds that pass `factor` times as fast as they do."""

    def __init__(self, factor: float) -> None:
        self._factor, self._begun, self._at = factor, time.monotonic(), time.time()

    def now(self) -> float:
        return self._at + (time.monotonic() - self._begun) * self._factor

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._factor)

    @property
    def pace(self) -> Pace:
        """For the client's payments."""
        return Pace(now=self.now, sleep=self.sleep)


@dataclass
class Paying:
    """The parts of such a network."""

    chain: LocalChain
    orchestrator: LocalOrchestrator
    signer: LocalSigner
    app: ForeignApp

    def gateway(self, **more: Any) -> Gateway:
        settings: dict[str, Any] = {
            "orch_url": self.orchestrator.url,
            "signer_url": self.signer.url,
            "tls": "insecure",
            "timeout": 30.0,
        }
        return Gateway(**(settings | more))

    async def serve(self, **says: Any) -> None:
        """Announce the app, for money."""
        await heartbeat(self.orchestrator, self.app, **{"price_info": PRICE, **says})

    async def told_is_signed(self, gw: Gateway) -> Fraction:
        """The sum that the client tells, which is that of the signer (once its answer is here)."""
        await until(lambda: gw.spent() == self.signer.spent)
        assert self.signer.reused == 0
        return gw.spent()


@asynccontextmanager
async def paying(
    factor: float = 1.0, *, clock: Any = None, **options: Any
) -> AsyncIterator[Paying]:
    """By a clock that runs `factor` times as fast, or by this one."""
    clock = clock or FastClock(factor)
    chain = LocalChain(now=clock.now, sleep=clock.sleep)
    app = ForeignApp()
    async with (
        LocalOrchestrator(chain=chain, **options) as orchestrator,
        LocalSigner(chain) as signer,
        serving(app),
    ):
        yield Paying(chain, orchestrator, signer, app)
