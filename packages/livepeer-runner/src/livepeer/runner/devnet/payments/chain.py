"""The chain of a local network: a clock, blocks, deposits, the price of an ether. No I/O."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from fractions import Fraction

from livepeer.runner.devnet.payments.keys import Key, keccak256

PAYER_KEY = "0x" + keccak256(b"a payer of local networks").hex()
ORCHESTRATOR_KEY = "0x" + keccak256(b"an orchestrator of local networks").hex()
"""Test keys that everybody can make. What they sign is worth nothing on any chain."""
BLOCK_SECONDS = 12.0
ROUND = 3520
ROUND_HASH = keccak256(b"a round of local networks")


class LocalChain:
    """What an orchestrator and a signer of a local network believe in: test money, and no node.

    - `payer`: the private key of the signer; a test key by default.
    - `orchestrator`: that of the orchestrator, who is paid.
    - `now`, `sleep`: its clock, in seconds; a test may have another one.
    - `funded`: whether the payer has a deposit and a reserve.
    """

    def __init__(
        self,
        *,
        payer: str = PAYER_KEY,
        orchestrator: str = ORCHESTRATOR_KEY,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        funded: bool = True,
    ) -> None:
        self.payer, self.orchestrator = Key(payer), Key(orchestrator)
        self.now, self.sleep = now, sleep
        self._funded = {self.payer.address, bytes(20)} if funded else set()
        self._first = now()
        self._more = 0
        self.usd_per_ether = Fraction(2000)

    def __repr__(self) -> str:
        return f"LocalChain(block {self.block})"

    @property
    def block(self) -> int:
        """The number of the newest one."""
        return 18_000_000 + int((self.now() - self._first) / BLOCK_SECONDS) + self._more

    def mine(self, blocks: int) -> None:
        """So many more blocks at once."""
        self._more += blocks

    def has_reserve(self, address: bytes) -> bool:
        """Can tickets of this address be redeemed?"""
        return address in self._funded

    def fund(self, address: bytes) -> None:
        """Give it a deposit and a reserve."""
        self._funded.add(address)
