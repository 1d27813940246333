"""What a command that keeps a pipeline served sees of it from outside, by its own `/health`."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from livepeer.runner.cli.reload import Reloader

LOOPBACK = "127.0.0.1"
LOOK_SECONDS = 0.1
STARTED_AGAIN = "it was started again"
ENDED = "its process ended"


class Look:
    """Looks at the pipeline's `/health` until one of its starts has come to something.

    `registers`: it has to be registered, not only ready.
    """

    def __init__(self, reloader: Reloader, stop: asyncio.Event, *, registers: bool = True) -> None:
        self.url = f"http://{LOOPBACK}:{reloader.port}"
        self._reloader = reloader
        self._registers = registers
        self.stop = stop
        self._seen = 0

    @property
    def trace(self) -> str:
        """The last traceback of the process that serves."""
        return self._reloader.trace

    async def served(self, http: aiohttp.ClientSession) -> str | None:
        """Until the next start of the pipeline has come to something; None, or why it will not."""
        while True:
            await self._reloader.started.wait()
            self._reloader.started.clear()
            self._seen = self._reloader.starts
            reason = await self._settled(http)
            if reason is not STARTED_AGAIN:
                return reason

    async def _settled(self, http: aiohttp.ClientSession) -> str | None:
        while self._reloader.starts == self._seen:
            if self._reloader.exit_status is not None:
                return ENDED
            health = await self._health(http)
            if health.get("status") == "ERROR":
                return str(health.get("reason", "setup failed"))
            states = health.get("registration", ())
            for state in states:
                if state.get("status") == "refused":
                    return f"the orchestrator refused it: {state.get('reason')}"
            if self._registers:
                if states and all(state.get("status") == "registered" for state in states):
                    return None
            elif health.get("status") in ("IDLE", "OK"):
                return None
            await asyncio.sleep(LOOK_SECONDS)
        return STARTED_AGAIN

    async def _health(self, http: aiohttp.ClientSession) -> dict[str, Any]:
        try:
            return await self._document(http, "/health")
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return {}

    async def schema(self, http: aiohttp.ClientSession) -> dict[str, Any]:
        """What it takes and gives."""
        return await self._document(http, "/schema")

    async def capacity(self, http: aiohttp.ClientSession) -> int:
        """How many jobs or streams it takes at once."""
        return int((await self._document(http, "/")).get("capacity", 1))

    async def _document(self, http: aiohttp.ClientSession, path: str) -> dict[str, Any]:
        async with http.get(f"{self.url}{path}") as answer:
            found: dict[str, Any] = await answer.json()
            return found
