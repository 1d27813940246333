"""Replayer 1 for gateways: scripted orchestrators behind it, a real one for trickle channels."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from .http1 import Connection
from .orchestrator import LIMIT, OrchestratorReplay, check_request
from .scripted import Exchange, ScriptedServer
from .transcript import Mismatch, Scenario, Step, Transcript
from .values import Values

#: Where the README says that the scripted orchestrator never listens.
NEVER_LISTENS = frozenset({"orchestrator_absent"})

#: Starts a gateway in front of orchestrators' URLs and gives its `host:port`.
StartGateway = Callable[[Sequence[str]], AbstractAsyncContextManager[str]]
#: Makes a trickle channel on the orchestrator that `${orch}` is.
CreateChannel = Callable[[str], None]


class GatewayReplay(OrchestratorReplay):
    """One run of one scenario; use `replay_gateway()`."""

    def __init__(
        self,
        transcript: Transcript,
        scenario: Scenario,
        address: str,
        start: StartGateway,
        create_channel: CreateChannel,
        front_tls: ssl.SSLContext,
    ) -> None:
        super().__init__(transcript, scenario, address, "", True)
        self._start = start
        self._create_channel = create_channel
        self._front_tls = front_tls
        self._token_answer: dict[str, Any] = {}
        self._tokens: set[str] = set()

    async def _set_up(self, stack: contextlib.AsyncExitStack) -> None:
        for name in ("front", "front2"):
            listens = self.scenario.name not in NEVER_LISTENS
            server = ScriptedServer(listens, self._front_tls)
            self.servers[name] = await stack.enter_async_context(server)
            self.values.known[name] = server.address
        urls = [f"https://{server.address}" for server in self.servers.values()]
        self.values.known["gateway"] = await stack.enter_async_context(self._start(urls))

    async def _connect(self, to: str | None = None) -> Connection:
        if to == "gateway":
            host, _, port = self.values.known["gateway"].rpartition(":")
            return await Connection.open(host, int(port), None)
        return await super()._connect(to)

    async def _step(self, step: Step) -> None:
        if "trickle_channels" in step:
            for name in step["trickle_channels"]:
                self._create_channel(self.values.text(name))
        elif "receives_all" in step:
            await self._receives_all(step)
        else:
            await super()._step(step)

    async def _container_step(self, step: Step) -> None:
        await super()._container_step(step)
        name = step["container"]
        if (step.get("receives") or {}).get("path") == "/process/token":
            self._tokens.add(name)
        elif name in self._tokens and step.get("answers", {}).get("status") == 200:
            self._token_answer = step["answers"]
            self._tokens.discard(name)
            # Who answered first is asked first: an order that the next step must not overtake.
            await asyncio.sleep(0.05)

    async def _receives_all(self, step: Step) -> None:
        """Several calls in any order, each after a token of its own."""
        wanted = list(step["receives_all"])
        while wanted:
            exchange = await self.servers[step["at"]].next_request(LIMIT + 45)
            if exchange.request.start_line.startswith("GET /process/token "):
                await exchange.answer(self._token_answer, self.values)
                continue
            wanted.remove(self._matching(wanted, exchange))
            await exchange.answer(step["each_answered"], self.values)

    def _matching(self, wanted: list[dict[str, Any]], exchange: Exchange) -> dict[str, Any]:
        problems = []
        for one in wanted:
            values = Values(self.values.known, self.values.patterns)
            try:
                check_request(values, one, exchange.request)
            except Mismatch as problem:
                problems.append(str(problem))
                continue
            self.values.known.update(values.known)
            return one
        raise Mismatch("no expected call matches: " + "; ".join(problems))


async def replay_gateway(
    transcript: Transcript,
    scenario: Scenario,
    address: str,
    start: StartGateway,
    create_channel: CreateChannel,
    front_tls: ssl.SSLContext,
) -> None:
    """Plays one scenario against a gateway that `start` starts for it. Raises `Mismatch`."""
    await GatewayReplay(transcript, scenario, address, start, create_channel, front_tls).run()
