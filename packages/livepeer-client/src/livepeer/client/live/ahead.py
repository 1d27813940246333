"""What is begun while a stream is being started: it would be waited for once that has started."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from livepeer.trickle.exceptions import TrickleError
from livepeer.trickle.types import TLS

if TYPE_CHECKING:
    from livepeer.trickle import Transport


class Ahead:
    """Connections to whoever is asked to start a stream, whose channels are there too, and the
    modules that its session needs.

    A new connection costs two round trips before its first request; they pass while the
    orchestrator is found and starts the stream. Where it fails, a channel tries again; where the
    channels are elsewhere, they open their own. Modules are imported in a thread, once the request
    is on its way: `load` imports those of the session.
    """

    def __init__(self, tls: TLS, count: int, load: Callable[[], None]) -> None:
        self._tls, self._count, self._load = tls, count, load
        self._begun: dict[str, asyncio.Task[None]] = {}
        self._transport: Transport | None = None

    def open(self, place: str) -> None:
        """Begin to connect to `place`, once; nothing is waited for."""
        if place not in self._begun:
            self._begun[place] = asyncio.create_task(self._open(place, first=not self._begun))

    async def _open(self, place: str, *, first: bool) -> None:
        await asyncio.to_thread(import_module, "livepeer.trickle.http.transport")
        from livepeer.trickle import Transport

        if self._transport is None:
            # The one that the channels share; it lasts until its last user has left.
            self._transport = Transport.lease(None)
        with contextlib.suppress(TrickleError):  # the request to that place says why
            self._transport.open_ahead(place, count=self._count, tls=self._tls)
        if first:
            # What cannot be imported is told where it is needed.
            with contextlib.suppress(ImportError, OSError):
                await asyncio.to_thread(self._load)

    async def aclose(self) -> None:
        """Give them back: no other user, no connection. Safe to repeat."""
        for task in self._begun.values():
            task.cancel()
        try:
            if self._begun:
                await asyncio.wait(self._begun.values())
        finally:
            transport, self._transport = self._transport, None
            if transport is not None:
                from livepeer.trickle import Transport

                await Transport.release(transport)
