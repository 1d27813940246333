"""Who calls the pipelines of a local network for its page: for free, or paying."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

from livepeer.runner.playground.board import Board
from livepeer.runner.playground.caller import PipelineCaller
from livepeer.runner.playground.http_calls import HttpCalls
from livepeer.runner.playground.network import AdaptedCaller, OpenCaller
from livepeer.runner.playground.orchestrator import OrchestratorCaller
from livepeer.trickle.tls.aiohttp_pin import Pin


@dataclass(frozen=True, slots=True)
class Paying:
    """How calls that cost test money are made: by the client that `opening` brings."""

    opening: OpenCaller
    signer: str
    tls: str


@dataclass(frozen=True, slots=True)
class PageCaller:
    capability: str
    caller: PipelineCaller
    price: str = ""
    """For people; empty where it is free."""


class PageCallers:
    """Callers by the key of a pipeline; an async context manager that owns their connections.

    What a paying one has spent is told to `board`.
    """

    def __init__(self, orchestrator: str, board: Board, paying: Paying | None) -> None:
        self._orchestrator, self._board, self._paying = orchestrator, board, paying
        self._found: dict[str, PageCaller] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        calls = HttpCalls(self._orchestrator, tls=Pin())
        self._requests = await self._stack.enter_async_context(calls)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def get(self, key: str, capability: str, document: dict[str, Any]) -> PageCaller:
        """That of a pipeline which serves; the same one as before, unless it has another name."""
        found = self._found.get(key)
        if found is None or found.capability != capability:
            found = self._found[key] = await self._made(key, capability, document)
        return found

    async def _made(self, key: str, capability: str, document: dict[str, Any]) -> PageCaller:
        paying = self._paying
        if paying is None:
            return PageCaller(capability, OrchestratorCaller(self._requests, capability))
        settings = {"orch_url": self._orchestrator, "signer_url": paying.signer, "tls": paying.tls}
        # The environment may name a key of the user's own, which pays for nothing here.
        opening = paying.opening(capability, {**settings, "environ": {}}, document)
        brought = await self._stack.enter_async_context(opening)
        brought.on_spent(lambda wei: self._board.spent(key, wei))
        return PageCaller(capability, AdaptedCaller(brought), brought.price)
