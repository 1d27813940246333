"""Payments for BYOC jobs: a balance at the orchestrator, filled up with tickets of its token.

go-livepeer wants a minute of the price as balance of (sender, capability) with every call that
carries a job; the rest of what was paid stays there for the next one.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from fractions import Fraction
from typing import Any, Final

from livepeer.client.exceptions import PaymentRequiredError, ProtocolError
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.payments.budget import Budget
from livepeer.client.payments.challenge import Challenge
from livepeer.client.payments.signer import Order, PriceRose, RefreshNeeded, Signer
from livepeer.client.protocol.tickets import ORCHESTRATOR_INFO
from livepeer.client.protocol.wire import INT64, PAYMENT
from livepeer.client.types import Offer

WANTED_SECONDS: Final = 60
"""What an orchestrator wants to see before it does anything."""
STREAM_SECONDS: Final = 60 + 23 + 50 + 7
"""For a stream: what is wanted, what is debited at a time, and the time until the next payment."""
_AUTH_SECONDS: Final = 1_800
_NUMBER: Final = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:/0*[1-9][0-9]{0,80})?")


async def byoc_payment(
    signer: Signer, http: Http, offer: Offer, seconds: int, budget: Budget, deadline: Deadline
) -> dict[str, str]:
    """The headers of a payment that fills the balance up to `seconds` of the price; empty if the
    balance covers them already."""
    where: dict[str, Any] = {"capability": offer.capability, "orchestrator": offer.orchestrator}
    try:
        balance = balance_in(offer.token)
        challenge = _asked(offer)
    except ValueError as error:
        raise ProtocolError(f"its token cannot be paid: {error}", **where) from None
    cost = offer.price * seconds
    missing = cost - balance
    if missing <= 0:
        return {}
    if -balance > cost and not budget.limited:
        raise PaymentRequiredError(
            f"it says that {float(-balance):g} wei are owed there from before, which is more than"
            f" the {float(cost):g} of this call: nothing was paid (a max_spend says how much may"
            " be)",
            **where,
        )
    units = -(-missing // offer.price)
    order = Order(challenge.params, "units", offer.capability, challenge.manifest_id, units)
    count = challenge.tickets(units * offer.price, Fraction(0))
    with budget.held(challenge.ticket * count, **where) as holding:
        try:
            signed = await signer.pay(http, order, None, deadline)
        except RefreshNeeded:
            raise ProtocolError(
                "the signer takes the orchestrator's new token for too old (is a clock wrong, or"
                " its chain behind?)",
                **where,
            ) from None
        except PriceRose as rose:
            raise PaymentRequiredError(f"too dear for the signer: {rose}", **where) from None
        if signed is None:
            raise PaymentRequiredError("the signer makes no tickets for it", **where)
        identity = await signer.identity(http, deadline)
        try:
            value, _ = challenge.value(signed, identity.address)
        except ValueError as error:
            raise PaymentRequiredError(
                f"the signer's payment is not sent: {error}", **where
            ) from None
        if not holding.take(value):
            raise PaymentRequiredError(
                f"the signer made a payment of {float(value):g} wei, which is over max_spend: it is"
                " not sent",
                **where,
            )
    return {PAYMENT: signed.payment}


def balance_in(token: Any) -> Fraction:
    """The balance at the orchestrator, in wei; negative if something is owed.

    Raises `ValueError`.
    """
    value = token.get("balance", 0)
    if isinstance(value, float) and abs(value) <= INT64:
        return Fraction(value).limit_denominator(1000)
    if type(value) is int and abs(value) < 1 << 100:
        return Fraction(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Fraction(value)
    raise ValueError("its balance is no number")


def _asked(offer: Offer) -> Challenge:
    """What the token asks, as a `net.OrchestratorInfo`: the signer looks at nothing else, and the
    orchestrator at no segment."""
    token = offer.token
    params = token.get("ticket_params")
    price = token.get("price")
    if not isinstance(params, dict) or not isinstance(price, dict):
        raise ValueError("it has no ticket parameters")
    expiration = params.get("expiration_params")
    expiration = expiration if isinstance(expiration, dict) else {}
    recipient = _bytes(params, "recipient")
    manifest = "byoc"
    info = {
        "transcoder": offer.orchestrator,
        "ticket_params": {
            **{
                name: _bytes(params, name)
                for name in (
                    "recipient",
                    "face_value",
                    "win_prob",
                    "recipient_rand_hash",
                    "seed",
                    "expiration_block",
                )
            },
            "expiration_params": {
                "creation_round": _int(expiration, "creation_round"),
                "creation_round_block_hash": _bytes(expiration, "creation_round_block_hash"),
            },
        },
        "price_info": {
            "pricePerUnit": _int(price, "pricePerUnit"),
            "pixelsPerUnit": _int(price, "pixelsPerUnit") or 1,
        },
        "address": recipient,
        "auth_token": {"session_id": manifest, "expiration": int(time.time()) + _AUTH_SECONDS},
    }
    return Challenge.of(ORCHESTRATOR_INFO.encode_text(info), manifest)


def _bytes(told: dict[str, Any], name: str) -> bytes:
    value = told.get(name, "")
    if not isinstance(value, str) or len(value) > 200:
        raise ValueError(f"its {name} is none")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"its {name} is no base64") from None


def _int(told: dict[str, Any], name: str) -> int:
    value = told.get(name, 0)
    if type(value) is not int or not 0 <= value <= INT64:
        raise ValueError(f"its {name} is no number")
    return value
