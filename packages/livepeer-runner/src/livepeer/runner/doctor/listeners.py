"""Somebody whom the container has no business to call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stranger:
    """A listening port that never answers: a container has no reason to connect to it."""

    url: str = ""
    connected: asyncio.Event = field(default_factory=asyncio.Event)

    async def came(self, seconds: float) -> bool:
        """Whether anybody connects within that time."""
        try:
            async with asyncio.timeout(seconds):
                await self.connected.wait()
        except TimeoutError:
            return False
        return True


@asynccontextmanager
async def stranger(host: str) -> AsyncIterator[Stranger]:
    """Listen on a free port of `host`, for the length of the block."""
    found = Stranger()

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connected.set()
        writer.close()

    # Cancelled as it begins to serve, a server that nobody has yet would stay.
    server = await asyncio.start_server(met, host, 0, start_serving=False)
    try:
        await server.start_serving()
        found.url = f"http://{host}:{server.sockets[0].getsockname()[1]}"
        yield found
    finally:
        server.close()
        await server.wait_closed()
