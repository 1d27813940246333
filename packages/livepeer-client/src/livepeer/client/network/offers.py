"""What orchestrators offer for a capability: asked by token requests, and kept for a moment."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from livepeer.client.exceptions import (
    CallTimeoutError,
    ConnectionFailedError,
    LivepeerError,
    NoOrchestratorError,
    ProtocolError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.tls import Trust
from livepeer.client.network.selection import Attempt
from livepeer.client.payments import Signer
from livepeer.client.protocol.wire import TOKEN_PATH, capacity_in, price_in, token_headers
from livepeer.client.types import Offer, Phase
from livepeer.client.untrusted import loads, redacted, secrets_in
from livepeer.trickle.text import printable

TOKEN_LIMIT: Final = 5.0
"""An orchestrator that takes longer to say what it has will not be quick at the job either."""
TOKEN_GRACE: Final = 0.25
"""How long the others may still answer once one offer that fits is there."""
OFFER_SECONDS: Final = 5.0
"""Free places change from job to job, so an offer is good for calls in a row and no longer."""
TOKEN_PATIENCE: Final = 2.0
"""The same where those that answer first have just refused."""
AT_ONCE: Final = 32
"""How many are asked at once; one that answers makes room for the next."""
TOKEN_BYTES: Final = 1 << 16
"""Bytes of a token: with ticket parameters it has 2,000."""
OFFERS: Final = 256
"""Offers that are kept."""

Fits = Callable[[Offer], bool]


class Offers:
    """Offers as they were told last. Plain dicts with single operations: safe across threads."""

    def __init__(self, trust: Trust, signer: Signer) -> None:
        self._trust, self._signer = trust, signer
        self._offers: dict[tuple[str, str], tuple[Offer, float]] = {}

    async def ask(
        self,
        http: Http,
        capability: str,
        orchestrators: Sequence[str],
        deadline: Deadline,
        fits: Fits,
        grace: float = TOKEN_GRACE,
    ) -> tuple[list[Offer], list[Attempt]]:
        """Ask all for a token; the offers that came in time, and why the others did not.

        Only an offer that `fits` ends the wait for others, or spares asking them for a while: one
        that is too dear, or that nobody can pay, must not hide one that is free.
        """
        now = time.monotonic()
        offers: list[Offer] = []
        ask: list[str] = []
        for orchestrator in orchestrators:
            known = self._offers.get((orchestrator, capability))
            if known and known[1] > now and fits(known[0]):
                offers.append(known[0])
            else:
                ask.append(orchestrator)
        if not ask or offers:
            return offers, []
        if len(ask) == 1:
            try:
                return [await self._kept(http, ask[0], capability, deadline, fits)], []
            except CallTimeoutError as error:
                if deadline.passed:
                    raise
                return [], [Attempt(error, "token")]
            except LivepeerError as error:
                return [], [Attempt(error, phase_of(error))]
        return await self._ask_all(http, capability, ask, deadline, fits, grace)

    async def probe_all(
        self, http: Http, orchestrators: Iterable[str], capability: str, deadline: Deadline
    ) -> tuple[list[Offer], list[Attempt]]:
        """What each of them offers, freshly asked and waited for, with the errors of the others."""
        return await self._ask_all(http, capability, orchestrators, deadline)

    async def probe(
        self, http: Http, orchestrator: str, capability: str, deadline: Deadline
    ) -> Offer:
        """What one orchestrator offers, freshly asked."""
        limit = Deadline(max(0.001, min(TOKEN_LIMIT, deadline.remaining())))
        identity = await self._signer.identity(http, limit)
        headers = token_headers(capability, identity.address, identity.signature)
        where = {"orchestrator": orchestrator, "capability": capability}
        begun = time.monotonic()
        try:
            reply = await http.fetch(
                "GET",
                orchestrator + TOKEN_PATH,
                ssl=self._trust.for_peer(),
                deadline=limit,
                headers=headers,
                where=where,
                limit=TOKEN_BYTES,
            )
        except CallTimeoutError as error:
            raise CallTimeoutError(
                f"{orchestrator} did not say within {limit.seconds:.3g} s whether it has room",
                phase="token",
                **where,
            ) from error
        if reply.status != 200:
            text = redacted(reply.body.decode("utf-8", "replace"), secrets_in(headers)).strip()
            hint = ""
            if "http request to an https server" in text.lower():
                hint = f" (it speaks TLS: write https:// in the address of {orchestrator})"
            raise NoOrchestratorError(
                f"its token request was answered {reply.status}:"
                f" {printable(text, 200) or 'nothing'}{hint}",
                status=reply.status,
                **where,  # type: ignore[arg-type]
            )
        try:
            token = loads(reply.body)
        except ValueError:
            token = None
        if not isinstance(token, dict):
            raise ProtocolError(
                "its token is not a JSON object: is this an orchestrator's address?",
                status=200,
                **where,  # type: ignore[arg-type]
            )
        try:
            capacity, price = capacity_in(token), price_in(token)
        except ValueError as error:
            raise ProtocolError(str(error), status=200, **where) from None  # type: ignore[arg-type]
        return Offer(orchestrator, capability, capacity, price, time.monotonic() - begun, token)

    def forget(self, orchestrator: str, capability: str) -> None:
        """Ask anew next time: something went wrong there."""
        self._offers.pop((orchestrator, capability), None)

    async def _kept(
        self,
        http: Http,
        orchestrator: str,
        capability: str,
        deadline: Deadline,
        fits: Fits | None,
    ) -> Offer:
        offer = await self.probe(http, orchestrator, capability, deadline)
        if fits is not None and fits(offer):
            while len(self._offers) >= OFFERS:
                self._offers.pop(next(iter(self._offers)), None)
            self._offers[orchestrator, capability] = (offer, time.monotonic() + OFFER_SECONDS)
        return offer

    async def _ask_all(
        self,
        http: Http,
        capability: str,
        orchestrators: Iterable[str],
        deadline: Deadline,
        fits: Fits | None = None,
        grace: float = TOKEN_GRACE,
    ) -> tuple[list[Offer], list[Attempt]]:
        waiting = iter(orchestrators)
        offers: list[Offer] = []
        attempts: list[Attempt] = []
        asked: dict[asyncio.Task[Offer], str] = {}
        pending: set[asyncio.Task[Offer]] = set()
        until: float | None = None
        try:
            while not deadline.passed:
                # Nobody new is asked once somebody who fits has answered.
                room = AT_ONCE - len(pending) if until is None else 0
                for each in itertools.islice(waiting, room):
                    task = asyncio.create_task(self._kept(http, each, capability, deadline, fits))
                    asked[task] = each
                    pending.add(task)
                if not pending:
                    break
                left = deadline.remaining() if until is None else until - time.monotonic()
                done, pending = await asyncio.wait(
                    pending, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for task in done:
                    try:
                        offer = task.result()
                    except LivepeerError as error:
                        attempts.append(Attempt(error, phase_of(error)))
                        continue
                    offers.append(offer)
                    if until is None and fits is not None and fits(offer):
                        until = time.monotonic() + grace
        finally:
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending)
        for task in pending:
            late = CallTimeoutError(
                "slower than the others to say whether it has room",
                phase="token",
                orchestrator=asked[task],
                capability=capability,
            )
            attempts.append(Attempt(late, "token"))
        return offers, attempts


def phase_of(error: LivepeerError) -> Phase:
    nothing_sent = isinstance(error, ConnectionFailedError)
    return "connect" if nothing_sent else "token"
