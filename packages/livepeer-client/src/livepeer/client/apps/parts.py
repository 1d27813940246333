"""What is open in a session: streams, WebSockets, and ends of channels."""

from __future__ import annotations

import weakref
from typing import Final, TypeVar

from livepeer.client.exceptions import ConfigurationError
from livepeer.client.http.closing import Closable, close_each

CLOSE_LIMIT: Final = 3.0
"""Seconds for each that is still open at the end."""
OPEN_PARTS: Final = 1_000
"""Streams and WebSockets that one session has open at a time."""


P = TypeVar("P", bound=Closable)


class Parts:
    """Keeps them until they are closed, and closes those that are left."""

    def __init__(self) -> None:
        self._kept: set[Closable] = set()
        # Those have a finalizer of their own, and do not say when they are closed.
        self._seen: weakref.WeakSet[Closable] = weakref.WeakSet()

    def keep(self, part: P) -> P:
        """It says itself when it is closed (`drop`)."""
        self._kept.add(part)
        return part

    def check(self) -> None:
        """Raises `ConfigurationError` where there is no room for one more."""
        if len(self._kept) >= OPEN_PARTS:
            raise ConfigurationError(
                f"a session has {OPEN_PARTS:,} streams and WebSockets at a time: close some"
            )

    def drop(self, part: Closable) -> None:
        """It is closed."""
        self._kept.discard(part)

    def see(self, part: P) -> P:
        """It is kept by whoever uses it."""
        self._seen.add(part)
        return part

    async def aclose(self) -> None:
        """Close all that are open."""
        parts = (*self._kept, *self._seen)
        self._kept.clear()
        await close_each(parts, CLOSE_LIMIT)
