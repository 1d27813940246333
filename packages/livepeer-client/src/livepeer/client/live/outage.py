"""A channel that cannot be used for the moment: how long that may last, and what is said of it."""

from __future__ import annotations

import logging
import time
from typing import Final

from livepeer.trickle.exceptions import (
    CertificateError,
    ChannelClosed,
    ChannelNotFound,
    ChannelRefused,
    TrickleConnectionError,
    TrickleError,
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
    """The tries to use one channel."""

    def __init__(self, about: str) -> None:
        self._about = about
        self._seldom = Seldom()
        self._reached = time.monotonic()
        self._pause = PAUSE

    def reached(self) -> None:
        """It works, as of now."""
        self._reached, self._pause = time.monotonic(), PAUSE

    def loss(self, error: TrickleError) -> str | None:
        """Why the session is lost with this error, None while that is not sure."""
        if isinstance(error, (ChannelNotFound, ChannelClosed)):
            return GONE
        if isinstance(error, CertificateError):
            return f"the orchestrator's certificate is not to be trusted: {error}"
        if isinstance(error, ChannelRefused):
            return f"the orchestrator refuses the channel: {error}"
        if time.monotonic() - self._reached <= OUTAGE:
            return None
        if isinstance(error, TrickleConnectionError):
            return f"the orchestrator was out of reach for {OUTAGE:g} s"
        return f"the orchestrator answered nothing of sense for {OUTAGE:g} s: {error}"

    def pause(self, error: TrickleError) -> float:
        """Seconds until the next try, more each time; `error` is seldom told."""
        logger.log(self._seldom.level(), "%s: %s", self._about, error)
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        return pause
