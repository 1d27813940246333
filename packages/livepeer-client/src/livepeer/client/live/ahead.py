"""Connections for the channels of a live session, opened while its start is under way."""

from __future__ import annotations

from livepeer.trickle import Transport
from livepeer.trickle.types import TLS


class ConnectionsAhead:
    """Connections to the orchestrator that is asked to start a stream: its channels are there too.

    A new connection costs two round trips before its first request; they pass while the
    orchestrator is found and starts the stream. Where it fails, a channel tries again; where the
    channels are elsewhere, they open their own.
    """

    def __init__(self, tls: TLS, count: int) -> None:
        self._tls, self._count = tls, count
        self._begun: set[str] = set()
        self._transport: Transport | None = None

    def open(self, place: str) -> None:
        """Begin to connect to `place`, once; nothing is waited for."""
        if place in self._begun:
            return
        self._begun.add(place)
        if self._transport is None:
            # The one that the channels share; it lasts until its last user has left.
            self._transport = Transport.lease(None)
        self._transport.open_ahead(place, count=self._count, tls=self._tls)

    async def aclose(self) -> None:
        """Give them back: no other user, no connection. Safe to repeat."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await Transport.release(transport)
