"""The payments of one session, or of one request: what is due, one at a time, until it is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any, Final

from livepeer.client.exceptions import (
    ConfigurationError,
    InsufficientBalanceError,
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

logger = logging.getLogger(__name__)

REFRESH_PATH: Final = "/refresh-payment"
STEP_SECONDS: Final = 5.0
"""For one request to the orchestrator."""
_FINAL: Final = (PaymentRequiredError, ConfigurationError, NoOrchestratorError)
"""After these nothing more is paid."""
_SEEN: Final = "already seen"
"""What an orchestrator says of tickets that it has."""

Renewed = Callable[[Challenge, Deadline], Awaitable[Challenge]]
"""Asks what is to be paid now; raises `ValueError` where that must not be paid."""


class Abandoned(Exception):
    """Whoever wanted it has left, and nothing has been sent yet."""


class Bill:
    """Pays one orchestrator for one session or request.

    A payment is made for time that is not paid yet, sent until it is known to have arrived, and
    never made twice: the next one is made once the one before is settled. `end` is the end: nothing
    is paid from then on.
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
        sending: Callable[[], None] | None = None,
        renewed: Renewed | None = None,
    ) -> None:
        """`listed`: the price that it is offered for, for each `unit`. `sending` is told before the
        first payment goes out. `renewed` asks anew what is to be paid, in place of the request that
        live runners have for it."""
        self._http, self._signer, self._trust = http, signer, trust
        self._budget, self._pace = budget, pace
        self._place, self._app = orchestrator, app
        self._kind, self._unit = KINDS[unit], unit
        self._listed, self._max_price = listed, max_price
        self._sending, self._renewed = sending, renewed
        self._challenge: Challenge | None = None
        self._state: Any = None
        self._credit = Fraction(0)
        self._paid_at: float | None = None
        self._pending: SignedPayment | None = None
        self._sent = False
        self._task: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[str], None]] = []
        self.abandoned = False
        """Nobody waits for it any more: what is not sent is not to be."""
        self.problem: str | None = None
        """Why no more is paid, though it is not over."""
        self.spent = Fraction(0)
        """Wei, signed so far."""

    def __repr__(self) -> str:
        return f"Bill({self._app!r}, {float(self.spent):g} wei)"

    @property
    def where(self) -> dict[str, Any]:
        """What errors name."""
        return {"capability": self._app, "orchestrator": self._place}

    @property
    def sent(self) -> bool:
        """Has a payment gone out?"""
        return self._sent

    @property
    def manifest_id(self) -> str:
        """The session that is paid for; empty before it is known."""
        return self._challenge.manifest_id if self._challenge is not None else ""

    @property
    def control(self) -> str:
        """The path of the session that is paid for; a credential."""
        return self._path.rpartition("/")[0]

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call it with the reason where payments end by themselves; at once where they have."""
        if self.problem is not None:
            listener(self.problem)
        else:
            self._listeners.append(listener)

    # -- the first payment ------------------------------------------------------------------------

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
            told = f"it wants to be paid for {self._app!r}, and {error}"
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
                f" {self._app!r}, and {what} {float(limit):g}: nothing was paid",
                passing=self._max_price is None,
                **self.where,
            )
        self._challenge = challenge

    def named(self, manifest_id: str) -> None:
        """The session that is paid for from now on, where it had no name before."""
        assert self._challenge is not None
        self._challenge = replace(self._challenge, manifest_id=manifest_id)

    async def first(self, deadline: Deadline) -> SignedPayment:
        """The payment that opens it."""
        signed = await self._make(deadline)
        if signed is None:
            raise PaymentRequiredError(
                f"the signer makes no tickets for {self._app!r}: by its account nothing is due",
                **self.where,
            )
        return signed

    def send(self) -> None:
        """A payment goes out now. Raises `Abandoned` where nobody wants that any more."""
        if self.abandoned:
            raise Abandoned
        if not self._sent and self._sending is not None:
            self._sending()
        self._sent = True

    # -- all others -------------------------------------------------------------------------------

    def start(self, alive: Callable[[], bool] | None = None) -> None:
        """Pay from now on, beside what is paid for, until `end`; or until it is not `alive`."""
        if self._kind == "fixed" or self._task is not None:
            return
        self._task = asyncio.create_task(self._run(), name="livepeer-payments")
        # Also where nobody ends it, but the loop or the gateway ends.
        self._http.farewells.owe(self, self.end)

    async def hold(self) -> None:
        """What was sent was not taken: nothing more is paid until it is sent again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def stop(self) -> None:
        """`end` without a wait: nothing is sent from now on."""
        self.abandoned = True
        self._http.farewells.pay(self)

    async def end(self) -> None:
        """Nothing is paid from now on. Safe to repeat."""
        self.abandoned = True
        try:
            await self.hold()
        finally:
            self._http.farewells.forget(self)

    async def _run(self) -> None:
        """Until it is over, or cannot be paid any longer."""
        pause, reached = self._pace.interval, self._pace.now()
        while True:
            await self._pace.sleep(pause)
            begun = self._pace.now()
            try:
                if not await self._step():
                    return
            except Abandoned:
                return
            except LivepeerError as error:
                lasted = self._pace.now() - reached
                if isinstance(error, _FINAL) or lasted > self._pace.outage:
                    self._failed(error.message)
                    return
                logger.warning("a payment for %s did not get through: %s", self._app, error)
                pause = self._pace.again
            else:
                reached = self._pace.now()
                pause = max(0.0, self._pace.interval - (reached - begun))

    async def _step(self) -> bool:
        """Make the payment that is due, and bring it there. False where it is over."""
        again = self._pending is not None
        if self._pending is None:
            self._pending = await self._make(Deadline(STEP_SECONDS))
        if self._pending is None:
            return True
        for refreshed in (False, True):
            self.send()
            answer = await self._post(self._path, self._pending.headers, b"")
            if answer.status == 200:
                break
            text = error_body(answer.body).message
            if answer.status == 400 and again and _SEEN in text:
                break  # it had arrived, and its answer was lost
            if answer.status == 404:
                self._failed("the orchestrator has ended the session")
                return False
            if answer.status == 409:
                return False  # a fixed price, paid already
            if answer.status >= 500:
                raise ProtocolError(
                    f"the orchestrator answered a payment {answer.status}: {text}", **self.where
                )
            self._pending = None
            if refreshed or answer.status not in (400, 402):
                raise PaymentRequiredError(
                    f"the orchestrator refused a payment: {answer.status} {text}", **self.where
                )
            # It took nothing of it. What the signer has counted as paid is not, so it begins anew.
            await self._refresh(Deadline(STEP_SECONDS))
            self._state, self._paid_at, self._credit = None, None, Fraction(0)
            self._pending, again = await self._make(Deadline(STEP_SECONDS)), False
            if self._pending is None:
                return True
        self._pending = None
        return True

    @property
    def _path(self) -> str:
        assert self._challenge is not None
        return self._challenge.path

    async def _make(self, deadline: Deadline) -> SignedPayment | None:
        """A payment for what is due, counted; None where nothing is.

        What the signer has been asked for is counted also where nobody waits for it any more.
        """
        making = asyncio.ensure_future(self._made(deadline))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            if not making.done():
                self.abandoned = True
                self._http.farewells.say(partial(_finished, making))
            raise

    async def _made(self, deadline: Deadline) -> SignedPayment | None:
        refreshed = restarted = False
        while True:
            if self.abandoned:
                raise Abandoned
            challenge = self._challenge
            assert challenge is not None
            fee = challenge.price * self._units()
            count = challenge.tickets(fee, self._credit)
            order = Order(
                challenge.params,
                self._kind,
                self._app,
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
                    signed, refreshed = None, True
                    await self._refresh(deadline)
                    continue
                except PriceRose as rose:
                    within = self._max_price is not None and challenge.price <= self._max_price
                    if restarted or self._state is None or not within:
                        raise PaymentRequiredError(
                            f"{self._app!r} is too dear for the signer: {rose}", **self.where
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
            logger.debug("%s: signed %g wei", self._app, float(value))
            return signed

    def _units(self) -> Fraction:
        """What is due now, by this side's clock; the signer counts by its own."""
        if self._paid_at is None:
            return Fraction(FIRST_UNITS[self._kind])
        passed = Fraction(self._pace.now() - self._paid_at)
        seconds = Fraction(-(-passed // 1)) if self._kind == "live" else passed
        return seconds * UNIT_RATES[self._kind]

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
                f"the price of {self._app!r} rose from {float(challenge.price):g} to"
                f" {float(found.price):g} wei for each of {self._unit}"
                + ("" if self._max_price is None else f", over max_price {float(limit):g}"),
                **self.where,
            )
        self._challenge = found

    async def _asked_anew(self, challenge: Challenge, deadline: Deadline) -> Challenge:
        identity = await self._signer.identity(self._http, deadline)
        body = {"sender": identity.address, "manifest_id": challenge.manifest_id}
        answer = await self._post(
            REFRESH_PATH, {"Content-Type": JSON}, compact_json(body).encode(), deadline
        )
        told = f"the orchestrator does not renew what it asks: {answer.status}"
        if answer.status >= 500:
            raise ProtocolError(told, **self.where)
        if answer.status != 200:
            text = error_body(answer.body).message
            raise PaymentRequiredError(f"{told} {text}", **self.where)
        return challenge.renewed(answer.body)

    async def _post(
        self, path: str, headers: dict[str, str], body: bytes, deadline: Deadline | None = None
    ) -> Fetched:
        return await self._http.fetch(
            "POST",
            self._place + path,
            ssl=self._trust.for_peer(),
            deadline=Deadline(STEP_SECONDS) if deadline is None else deadline,
            headers=headers,
            body=body,
            where=self.where,
        )

    def _failed(self, why: str) -> None:
        self.problem = why
        logger.info("payments for %s end: %s", self._app, why)
        for listener in self._listeners:
            listener(why)


async def _finished(making: asyncio.Future[SignedPayment | None]) -> None:
    with contextlib.suppress(LivepeerError, Abandoned):
        await making


def no_money(text: str, where: dict[str, Any]) -> InsufficientBalanceError:
    """The orchestrator's words for a payer who has nothing on the chain."""
    return InsufficientBalanceError(
        f"the orchestrator takes no payment of this payer: {text} (on chain its deposit and reserve"
        " have to be filled up)",
        **where,
    )
