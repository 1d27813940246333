"""The road by an orchestrator's BYOC registry: a token tells, a signature and a payment go along.

Tokens and headers are go-livepeer's (package `byoc`), as its recorded answers show them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from typing import Final

from livepeer.client.exceptions import (
    CallTimeoutError,
    LivepeerError,
    NoOrchestratorError,
    PaymentRequiredError,
    ProtocolError,
    mark_paid,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.network.jobs import RunningJob, Task
from livepeer.client.network.roads import Candidate, post
from livepeer.client.network.selection import Attempt
from livepeer.client.payments.byoc import STREAM_SECONDS, WANTED_SECONDS, byoc_payment
from livepeer.client.payments.wallet import Wallet
from livepeer.client.protocol.wire import JOB, TOKEN_PATH, capacity_in, price_in, token_headers
from livepeer.client.types import Offer
from livepeer.client.untrusted import loads, redacted, secrets_in
from livepeer.trickle.text import printable

TOKEN_LIMIT: Final = 5.0
"""An orchestrator that takes longer to say what it has will not be quick at the job either."""
TOKEN_BYTES: Final = 1 << 16
"""Bytes of a token: with ticket parameters it has 2,000."""


class Byoc:
    """Offers by token requests, jobs by the signed `Livepeer` header."""

    name = "byoc"
    gateway = False

    def __init__(self, trust: TlsPolicy, wallet: Wallet) -> None:
        self._trust, self._wallet, self._signer = trust, wallet, wallet.signer

    async def offer(
        self, http: Http, orchestrator: str, capability: str, deadline: Deadline
    ) -> Offer:
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
            elif reply.status == 404:
                hint = " (is this an orchestrator's address?)"
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

    async def send(
        self,
        http: Http,
        task: Task,
        to: Candidate,
        deadline: Deadline,
        *,
        attempts: tuple[Attempt, ...] = (),
        paid: Callable[[], None] | None = None,
    ) -> RunningJob:
        job = task.header(deadline)
        priced = to.offer is not None and not to.offer.free
        if to.offer is not None:
            self._check_price(to.offer, task)
        headers = {JOB: await self._signer.sign(http, job, deadline, paid=priced)}
        spent = Fraction(0)
        if to.offer is not None and priced:
            # As go-livepeer's gateway pays: for all the time that the job may take.
            seconds = STREAM_SECONDS if task.path else max(WANTED_SECONDS, job.timeout_seconds)
            budget = (task.budget or self._wallet.budget).call(None)
            headers |= await byoc_payment(self._signer, http, to.offer, seconds, budget, deadline)
            spent = budget.spent
            if spent and paid is not None:
                paid()
        try:
            return await post(http, self._trust, task, job, to, headers, deadline, attempts)
        except LivepeerError as error:
            if spent:
                mark_paid(error, spent)
            raise

    def _check_price(self, offer: Offer, task: Task) -> None:
        """What goes on is paid at the price that it began at, or within `max_price`."""
        limit = task.price if self._wallet.max_price is None else self._wallet.max_price
        if limit is None or offer.price <= limit:
            return
        risen = "" if task.price is None else f"rose from {float(task.price):g} to "
        ceiling = "" if self._wallet.max_price is None else f", over max_price {float(limit):g}"
        raise PaymentRequiredError(
            f"the price of {task.capability!r} {risen or 'is '}{float(offer.price):g} wei per"
            f" second{ceiling}: nothing more was paid",
            capability=task.capability,
            orchestrator=offer.orchestrator,
        )
