"""The clock of payments, in one place: how often, how soon again, for how long without."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """When payments are made, in seconds.

    An orchestrator takes 5 s of the price every 5 s, and ends a session that has less left: a first
    payment of 10 s lasts for 15 s. `interval` is a little under the 3 s of go-livepeer's clients,
    because a signer charges whole seconds, rounded up: just over three would cost four.
    """

    interval: float = 2.9
    again: float = 1.0
    """After a failure."""
    outage: float = 30.0
    """Without a success; by then an orchestrator that was not paid has ended the session."""
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


PACE = Pace()
