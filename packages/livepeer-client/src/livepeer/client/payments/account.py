"""What one session or request is asked to pay, and the payments that are made for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

from livepeer.client.exceptions import (
    LivepeerError,
    NoOrchestratorError,
    PaymentRequiredError,
    ProtocolError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Fetched, Http
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.payments.budget import Budget
from livepeer.client.payments.challenge import FIRST_UNITS, KINDS, UNIT_RATES, Challenge
from livepeer.client.payments.pace import Pace
from livepeer.client.payments.signer import (
    Order,
    PriceRose,
    RefreshNeeded,
    SignedPayment,
    Signer,
)
from livepeer.client.protocol.wire import JSON, PAYER, compact_json, error_body
from livepeer.client.untrusted import redacted, secrets_in

logger = logging.getLogger(__name__)

REFRESH_PATH: Final = "/refresh-payment"

Renewed = Callable[[Challenge, Deadline], Awaitable[Challenge]]
"""Asks what is to be paid now; raises `ValueError` where that must not be paid."""


class Abandoned(Exception):
    """Whoever wanted it has left, and nothing has been sent yet."""


class Account:
    """How it stands between this payer and one orchestrator, for one session or request.

    A payment is made for what is due and not paid yet; one at a time, since each is made by the
    state that the one before has left. It is counted when it is made: whether it is sent is the
    matter of `bill.Bill`.
    """

    def __init__(
        self,
        http: Http,
        signer: Signer,
        trust: TlsPolicy,
        budget: Budget,
        pace: Pace,
        *,
        orchestrator: str,
        app: str,
        unit: str,
        listed: Fraction,
        max_price: Fraction | None,
        renewed: Renewed | None = None,
    ) -> None:
        """`listed`: the price that it is offered for, for each `unit`. `renewed` asks anew what is
        to be paid, in place of the request that live runners have for it."""
        self._http, self._signer, self._trust = http, signer, trust
        self._budget, self._pace = budget, pace
        self._place, self.app = orchestrator, app
        self.kind, self._unit = KINDS[unit], unit
        self._listed, self._max_price = listed, max_price
        self._renewed = renewed
        self._challenge: Challenge | None = None
        self._state: Any = None
        self._credit = Fraction(0)
        self._paid_at: float | None = None
        self._anew = False
        """What is asked has to be asked anew before the next payment."""
        self._making: asyncio.Task[SignedPayment | None] | None = None
        self.abandoned = False
        """Nobody waits for it any more: nothing more is asked of the signer."""
        self.spent = Fraction(0)
        """Wei, signed so far."""

    @property
    def where(self) -> dict[str, Any]:
        """What errors name."""
        return {"capability": self.app, "orchestrator": self._place}

    @property
    def path(self) -> str:
        """Where later payments go; a credential."""
        assert self._challenge is not None
        return self._challenge.path

    # -- what is asked ----------------------------------------------------------------------------

    async def asking(self, deadline: Deadline) -> dict[str, str]:
        """The headers of a request that asks what is to be paid."""
        identity = await self._signer.identity(self._http, deadline)
        return {PAYER: identity.address}

    def challenged(self, body: bytes) -> None:
        """This is asked. Raises what a call raises where it is not to be paid."""
        try:
            challenge = Challenge.read(body)
        except ValueError as error:
            text = error_body(body).message
            told = f"it wants to be paid for {self.app!r}, and {error}"
            if "payment_params" not in text:
                told = f"{told}: {text}" if text else told
            raise PaymentRequiredError(told, status=402, **self.where) from None
        self.accept(challenge)

    def accept(self, challenge: Challenge) -> None:
        """This is asked. Raises `NoOrchestratorError` where it is more than was offered."""
        limit = self._listed if self._max_price is None else self._max_price
        if challenge.price > limit:
            what = "lists it for" if self._max_price is None else "max_price is"
            # It may have moved since the list was read, so the list is read again.
            raise NoOrchestratorError(
                f"it asks {float(challenge.price):g} wei for each of {self._unit} of"
                f" {self.app!r}, and {what} {float(limit):g}: nothing was paid",
                passing=self._max_price is None,
                **self.where,
            )
        self._challenge = challenge

    def named(self, manifest_id: str) -> None:
        """The session that is paid for from now on, where it had no name before."""
        assert self._challenge is not None
        self._challenge = replace(self._challenge, manifest_id=manifest_id)

    # -- what is paid -----------------------------------------------------------------------------

    async def first(self, deadline: Deadline) -> SignedPayment:
        """The payment that opens it."""
        signed = await self.make(deadline)
        if signed is None:
            raise PaymentRequiredError(
                f"the signer makes no tickets for {self.app!r}: by its account nothing is due",
                **self.where,
            )
        return signed

    async def make(self, deadline: Deadline) -> SignedPayment | None:
        """A payment for what is due, counted; None where nothing is.

        One that is begun is made to its end, also where whoever waits for it leaves: the next one
        who asks gets it.
        """
        if self._making is None:
            self._making = asyncio.create_task(self._made(deadline), name="livepeer-payment")
        making = self._making
        try:
            signed = await asyncio.shield(making)
        except asyncio.CancelledError:
            if making.cancelled():
                self._making = None
            raise
        except BaseException:
            self._making = None
            raise
        self._making = None
        return signed

    def begin_anew(self) -> None:
        """The orchestrator took nothing of the last payment. What the signer has counted as paid
        is not, so the next one is a first one again, for what is asked then."""
        self._state, self._paid_at, self._credit = None, None, Fraction(0)
        self._anew = True

    @property
    def making(self) -> bool:
        """Has a payment been begun that nobody has got yet?"""
        return self._making is not None

    async def finish(self) -> None:
        """Nothing more is made; what was asked of the signer is counted still."""
        self.abandoned = True
        if self._making is not None:
            with contextlib.suppress(LivepeerError, Abandoned):
                await self._making

    async def _made(self, deadline: Deadline) -> SignedPayment | None:
        refreshed = restarted = False
        while True:
            if self.abandoned:
                raise Abandoned
            if self._anew:
                await self._refresh(deadline)
                continue
            challenge = self._challenge
            assert challenge is not None
            fee = challenge.price * self._units()
            count = challenge.tickets(fee, self._credit)
            order = Order(
                challenge.params,
                self.kind,
                self.app,
                challenge.manifest_id,
                max_price=self._max_price,
            )
            with self._budget.held(challenge.ticket * count, **self.where) as holding:
                try:
                    signed = await self._signer.pay(self._http, order, self._state, deadline)
                except RefreshNeeded:
                    if refreshed:
                        raise ProtocolError(
                            "the signer takes what the orchestrator has just asked for too old"
                            " (is a clock wrong, or its chain behind?)",
                            **self.where,
                        ) from None
                    self._anew = refreshed = True
                    continue
                except PriceRose as rose:
                    within = self._max_price is not None and challenge.price <= self._max_price
                    if restarted or self._state is None or not within:
                        raise PaymentRequiredError(
                            f"{self.app!r} is too dear for the signer: {rose}", **self.where
                        ) from None
                    # The signer holds a session to its first price: a new one begins.
                    self._state, self._paid_at, self._credit = None, None, Fraction(0)
                    restarted = True
                    continue
                if signed is None:
                    return None
                identity = await self._signer.identity(self._http, deadline)
                try:
                    value, _ = challenge.value(signed, identity.address)
                except ValueError as error:
                    raise PaymentRequiredError(
                        f"the signer's payment is not sent: {error}", **self.where
                    ) from None
                if not holding.take(value):
                    raise PaymentRequiredError(
                        f"the signer made a payment of {float(value):g} wei, which is over"
                        " max_spend: it is not sent",
                        **self.where,
                    )
            self._state = signed.state
            self._credit += value - fee
            self._paid_at = self._pace.now()
            self.spent += value
            logger.debug("%s: signed %g wei", self.app, float(value))
            return signed

    def _units(self) -> Fraction:
        """What is due now, by this side's clock; the signer counts by its own."""
        if self._paid_at is None:
            return Fraction(FIRST_UNITS[self.kind])
        passed = Fraction(self._pace.now() - self._paid_at)
        seconds = Fraction(-(-passed // 1)) if self.kind == "live" else passed
        return seconds * UNIT_RATES[self.kind]

    # -- what is asked later ----------------------------------------------------------------------

    async def _refresh(self, deadline: Deadline) -> None:
        """Ask anew what is to be paid: newer tickets, for the same session at the same address."""
        challenge = self._challenge
        assert challenge is not None
        try:
            found = await (self._renewed or self._asked_anew)(challenge, deadline)
        except ValueError as error:
            raise PaymentRequiredError(
                f"what the orchestrator asks now is not paid: {error}", **self.where
            ) from None
        limit = challenge.price if self._max_price is None else self._max_price
        if found.price > limit:
            raise PaymentRequiredError(
                f"the price of {self.app!r} rose from {float(challenge.price):g} to"
                f" {float(found.price):g} wei for each of {self._unit}"
                + ("" if self._max_price is None else f", over max_price {float(limit):g}"),
                **self.where,
            )
        self._challenge, self._anew = found, False

    async def _asked_anew(self, challenge: Challenge, deadline: Deadline) -> Challenge:
        identity = await self._signer.identity(self._http, deadline)
        body = {"sender": identity.address, "manifest_id": challenge.manifest_id}
        answer = await self.post(
            REFRESH_PATH, {"Content-Type": JSON}, compact_json(body).encode(), deadline
        )
        told = f"the orchestrator does not renew what it asks: {answer.status}"
        if answer.status >= 500:
            raise ProtocolError(told, **self.where)
        if answer.status != 200:
            raise PaymentRequiredError(f"{told} {self.said(answer.body)}", **self.where)
        return challenge.renewed(answer.body)

    def said(self, body: bytes, sent: SignedPayment | None = None) -> str:
        """The orchestrator's words, without the name of the session and what it was `sent`: whoever
        knows these speaks, or is paid, for the session."""
        session = self._challenge.manifest_id if self._challenge is not None else ""
        secrets = secrets_in({"session": session, **(sent.headers if sent is not None else {})})
        return error_body(redacted(body.decode("utf-8", "replace"), secrets)).message

    async def post(
        self, path: str, headers: dict[str, str], body: bytes, deadline: Deadline
    ) -> Fetched:
        """A request about payments to the orchestrator."""
        return await self._http.fetch(
            "POST",
            self._place + path,
            ssl=self._trust.for_peer(),
            deadline=deadline,
            headers=headers,
            body=body,
            where=self.where,
        )
