"""A channel that cannot be used for the moment: how long that may last, and what is said of it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Final

from livepeer.client.live.ending import Ending
from livepeer.trickle.exceptions import (
    CertificateError,
    ChannelClosed,
    ChannelNotFound,
    ChannelRefused,
    TrickleConnectionError,
)

logger = logging.getLogger(__name__)

OUTAGE: Final = 60.0
"""How long a channel may be out of reach before the session counts as lost, in seconds."""
PAUSE: Final = 0.5
"""Seconds between two tries: the first, and the most that they grow to."""
LONGEST_PAUSE: Final = 4.0
SELDOM: Final = 10.0
"""What can be said again and again is said so often, in seconds."""

GONE: Final = "the orchestrator no longer has the stream: it was stopped there, or restarted"


def never_again(error: Exception) -> str | None:
    """Why a channel with this error is lost at once, None where it may come back."""
    match error:
        case ChannelNotFound() | ChannelClosed():
            return GONE
        case CertificateError():
            return f"the orchestrator's certificate is not to be trusted: {error}"
        case ChannelRefused():
            return f"the orchestrator refuses the channel: {error}"
    return None


class Seldom:
    """Lets one of many like lines into the log; the others are for whoever looks for them."""

    def __init__(self) -> None:
        self._next = 0.0

    def level(self, level: int = logging.WARNING) -> int:
        now = time.monotonic()
        if now < self._next:
            return logging.DEBUG
        self._next = now + SELDOM
        return level


class Outage:
    """The tries to use one channel: how many, how far apart, for how long, and what is logged.

    Every loop that reconnects is: use it, `reached()`; on an error leave if it is `lost`, else
    `pause()` and try again. `limit` seconds without use end the session (`OUTAGE`; with `math.inf`
    nothing does); `final` tells an error that ends it at once, `reason` words what it ends with.
    """

    def __init__(
        self,
        about: str,
        ending: Ending,
        *,
        limit: float | None = None,
        final: Callable[[Exception], str | None] = never_again,
        reason: Callable[[str], str] = str,
    ) -> None:
        self.tries = 0
        """Tries after a failed one."""
        self._about, self._ending = about, ending
        self._limit = OUTAGE if limit is None else limit
        self._final, self._reason = final, reason
        self._seldom = Seldom()
        self._pause = PAUSE
        self._reached = time.monotonic()

    def reached(self) -> None:
        """It works as of now, or is tried for the first time."""
        self._reached, self._pause = time.monotonic(), PAUSE

    def lost(self, error: Exception) -> bool:
        """Does this error leave nothing to try? Then the session is over, with its reason."""
        if self._limit < math.inf:
            why = self._final(error) or self._too_long(error)
            if why is not None:
                self._ending.finish(self._reason(why), lost=True)
            if self._ending.lost:
                return True
        self.tries += 1
        logger.log(self._seldom.level(), "%s: %s", self._about, error)
        return False

    async def pause(self) -> None:
        """Until the next try, longer each time; the end of the session cuts it short."""
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        if self._ending.over:
            await asyncio.sleep(pause)
            return
        try:
            async with asyncio.timeout(pause):
                await self._ending.wait()
        except TimeoutError:
            pass

    def _too_long(self, error: Exception) -> str | None:
        if time.monotonic() - self._reached <= self._limit:
            return None
        if isinstance(error, TrickleConnectionError):
            return f"the orchestrator was out of reach for {self._limit:g} s"
        return f"the orchestrator answered nothing of sense for {self._limit:g} s: {error}"
