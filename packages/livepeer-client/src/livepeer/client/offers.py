"""What orchestrators offer for a capability: asked by token requests, and kept for a moment."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from typing import Final

from livepeer.client.deadline import Deadline
from livepeer.client.exceptions import (
    CallTimeoutError,
    ConnectionFailedError,
    LivepeerError,
    NoOrchestratorError,
    ProtocolError,
)
from livepeer.client.http import Http
from livepeer.client.payments import Signer
from livepeer.client.selection import Attempt
from livepeer.client.tls import Trust
from livepeer.client.types import Offer, Phase
from livepeer.client.wire import TOKEN_PATH, capacity_in, price_in, token_headers

#: An orchestrator that takes longer to say what it has will not be quick at the job either.
TOKEN_LIMIT: Final = 5.0
#: How long the others may still answer once one offer is there.
TOKEN_GRACE: Final = 0.25
#: Free places change from job to job, so an offer is good for calls in a row and no longer.
OFFER_SECONDS: Final = 5.0


class Offers:
    """Offers as they were told last. Plain dicts with single operations: safe across threads."""

    def __init__(self, trust: Trust, signer: Signer) -> None:
        self._trust, self._signer = trust, signer
        self._offers: dict[tuple[str, str], tuple[Offer, float]] = {}

    async def ask(
        self, http: Http, capability: str, orchestrators: Sequence[str], deadline: Deadline
    ) -> tuple[list[Offer], list[Attempt]]:
        """Ask all for a token at once; the offers that came in time, and why the others did not."""
        now = time.monotonic()
        offers: list[Offer] = []
        ask: list[str] = []
        for orchestrator in orchestrators:
            known = self._offers.get((orchestrator, capability))
            if known and known[1] > now:
                offers.append(known[0])
            else:
                ask.append(orchestrator)
        if not ask or offers:
            return offers, []
        if len(ask) == 1:
            try:
                return [await self.probe(http, ask[0], capability, deadline)], []
            except CallTimeoutError as error:
                if deadline.passed:
                    raise
                return [], [Attempt(error, "token")]
            except LivepeerError as error:
                return [], [Attempt(error, phase_of(error))]
        return await self._ask_all(http, capability, ask, deadline)

    async def probe(
        self, http: Http, orchestrator: str, capability: str, deadline: Deadline
    ) -> Offer:
        """What one orchestrator offers, freshly asked."""
        limit = Deadline(max(0.001, min(TOKEN_LIMIT, deadline.remaining())))
        identity = await self._signer.identity(http, limit)
        target = orchestrator + TOKEN_PATH
        where = {"orchestrator": orchestrator, "capability": capability}
        begun = time.monotonic()
        try:
            reply = await http.fetch(
                "GET",
                target,
                ssl=self._trust.for_peer(),
                deadline=limit,
                headers=token_headers(capability, identity.address, identity.signature),
                where=where,
            )
        except CallTimeoutError as error:
            raise CallTimeoutError(
                f"{orchestrator} did not say within {limit.seconds:.3g} s whether it has room",
                phase="token",
                **where,
            ) from error
        if reply.status != 200:
            text = reply.body.decode("utf-8", "replace").strip()[:200]
            raise NoOrchestratorError(
                f"its token request was answered {reply.status}: {text or 'nothing'}",
                status=reply.status,
                **where,  # type: ignore[arg-type]
            )
        try:
            token = json.loads(reply.body)
        except ValueError:
            token = None
        if not isinstance(token, dict):
            raise ProtocolError(
                "its token is not a JSON object: is this an orchestrator's address?",
                status=200,
                **where,  # type: ignore[arg-type]
            )
        offer = Offer(
            orchestrator,
            capability,
            capacity_in(token),
            price_in(token),
            time.monotonic() - begun,
            token,
        )
        if offer.capacity > 0:
            self._offers[orchestrator, capability] = (offer, time.monotonic() + OFFER_SECONDS)
        return offer

    def forget(self, orchestrator: str, capability: str) -> None:
        """Ask anew next time: something went wrong there."""
        self._offers.pop((orchestrator, capability), None)

    async def _ask_all(
        self, http: Http, capability: str, ask: Iterable[str], deadline: Deadline
    ) -> tuple[list[Offer], list[Attempt]]:
        offers: list[Offer] = []
        attempts: list[Attempt] = []
        tasks = {
            asyncio.create_task(self.probe(http, each, capability, deadline)): each for each in ask
        }
        pending = set(tasks)
        grace: float | None = None
        try:
            while pending and not deadline.passed:
                now = time.monotonic()
                left = deadline.remaining() if grace is None else max(0.0, grace - now)
                done, pending = await asyncio.wait(
                    pending, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for task in done:
                    try:
                        offers.append(task.result())
                    except LivepeerError as error:
                        attempts.append(Attempt(error, phase_of(error)))
                if grace is None and any(offer.capacity > 0 for offer in offers):
                    grace = time.monotonic() + TOKEN_GRACE
        finally:
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending)
        for task in pending:
            late = CallTimeoutError(
                "slower than the others to say whether it has room",
                phase="token",
                orchestrator=tasks[task],
                capability=capability,
            )
            attempts.append(Attempt(late, "token"))
        return offers, attempts


def phase_of(error: LivepeerError) -> Phase:
    nothing_sent = isinstance(error, ConnectionFailedError)
    return "connect" if nothing_sent else "token"


__all__ = ["Offers", "phase_of"]
