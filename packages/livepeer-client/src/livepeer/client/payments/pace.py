"""The clock of payments, in one place: how often, how soon again, for how long without."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. An orchestrator takes 5 s of price each 5 s, and ends what has not so much left: a
    first payment of 10 s lasts until 15 s are over. `interval` is a little under the three seconds
    of go-livepeer's clients: a signer charges whole seconds, rounded up, and just over three would
    cost four."""

    interval: float = 2.9
    again: float = 1.0
    """After a failure."""
    outage: float = 30.0
    """Without a success; by then an orchestrator that was not paid has ended the session."""
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


PACE = Pace()
