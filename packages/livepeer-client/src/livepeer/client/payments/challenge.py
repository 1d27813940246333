"""What an orchestrator asks to be paid (402), read and checked before anything is signed. No I/O.

Whoever asks is not trusted: the price, the ticket, the recipient and the session are looked at
here, and requests go to the address that was asked, whatever the answer names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Final

from livepeer.client.payments.signer import PaymentKind, SignedPayment
from livepeer.client.protocol.discovery import PAYMENT_PATH, path_in
from livepeer.client.protocol.tickets import (
    ORCHESTRATOR_INFO,
    PAYMENT,
    price_of,
    ticket_value,
)
from livepeer.client.untrusted import loads

KINDS: Final[dict[str, PaymentKind]] = {
    "seconds": "live",
    "720p-pixel-seconds": "lv2v",
    "fixed": "fixed",
}
"""What go-livepeer's signer calls what is paid for, by the unit of a runner's price."""
FIRST_UNITS: Final[dict[PaymentKind, int]] = {
    "live": 10,
    "lv2v": 60 * 1280 * 720 * 30,
    "fixed": 1,
}
"""What a first payment is for: the signer's own numbers."""
UNIT_RATES: Final[dict[PaymentKind, int]] = {"live": 1, "lv2v": 1280 * 720 * 30, "fixed": 0}
"""Units of a second, which later payments are for."""

PARAMS_LENGTH: Final = 1 << 14
"""Letters of `payment_params`, which have 600."""
TICKET_LIMIT: Final = Fraction(10**16)
"""Wei that one ticket may be worth: 0.01 ETH. go-livepeer's signer takes a thousandth of a
thousandth of it (`-maxTicketEV`)."""
_MANIFEST: Final = re.compile(r"[A-Za-z0-9._~-]{1,256}")


@dataclass(frozen=True, slots=True)
class Challenge:
    """What an orchestrator asks to be paid. `params` is passed on to the signer unchanged; the
    other fields were read from it."""

    params: str = field(repr=False)
    manifest_id: str = field(repr=False)
    path: str = field(repr=False)
    """Where later payments go, at the orchestrator that was asked; a credential."""
    price: Fraction
    """Wei for each unit."""
    ticket: Fraction
    """Wei that one ticket is worth."""
    recipient: bytes = field(repr=False)

    @classmethod
    def read(cls, body: bytes) -> Challenge:
        """Parse the JSON body of a 402.

        Raises `ValueError` if it cannot be paid, or must not be.
        """
        told = _told(body)
        manifest = told.get("manifest_id")
        if not isinstance(manifest, str) or not _MANIFEST.fullmatch(manifest):
            raise ValueError("it names no session to pay for")
        path = path_in(told.get("payment_url"), PAYMENT_PATH)
        if path is None:
            raise ValueError("it names no address to pay at")
        if path.split("/")[-2] != manifest:
            raise ValueError("it would be paid for another session than its own")
        return _with_info(cls("", manifest, path, Fraction(0), Fraction(0), b""), told)

    @classmethod
    def of(cls, params: str, manifest_id: str | None, path: str = "") -> Challenge:
        """Parse an `OrchestratorInfo` in base64, where no 402 has asked. `manifest_id` is None
        while the session has no name yet. Raises `ValueError`."""
        known = cls("", manifest_id or "", path, Fraction(0), Fraction(0), b"")
        return _with_info(known, {"payment_params": params, "manifest_id": manifest_id})

    def with_params(self, params: str) -> Challenge:
        """This challenge with the `OrchestratorInfo` of a newer offer. Raises `ValueError`."""
        return self._same_recipient({"payment_params": params, "manifest_id": None})

    def renewed(self, body: bytes) -> Challenge:
        """This challenge with what a newer 402 says. Raises `ValueError` if that names another
        session or recipient."""
        told = _told(body)
        if told.get("manifest_id") != self.manifest_id:
            raise ValueError("it is about another session")
        return self._same_recipient(told)

    def _same_recipient(self, told: dict[str, Any]) -> Challenge:
        found = _with_info(self, told)
        if found.recipient != self.recipient:
            raise ValueError("it wants another recipient to be paid than before")
        return found

    def tickets(self, fee: Fraction, credit: Fraction) -> int:
        """The number of tickets that pay `fee` wei when `credit` wei are left at the orchestrator.
        At least one ticket's worth is kept in hand (go-livepeer, `core.Balance.StageUpdate`)."""
        missing = max(fee, self.ticket) - credit
        return max(0, -(-missing // self.ticket))

    def value(self, signed: SignedPayment, sender: str) -> tuple[Fraction, int]:
        """The value of a signed payment in wei, and its number of tickets. Raises `ValueError` if
        it pays for something else than was asked."""
        try:
            payment = PAYMENT.decode_text(signed.payment)
            found = payment.get("ticket_params", {})
            worth = ticket_value(found)
            price = price_of(payment.get("expected_price", {}))
        except ValueError as error:
            raise ValueError(f"it is no payment: {error}") from None
        if found.get("recipient") != self.recipient:
            raise ValueError("it pays another recipient")
        if payment.get("sender", b"").hex() != sender.lower().removeprefix("0x"):
            raise ValueError("it comes from another address than the signer's own")
        if worth != self.ticket or price != self.price:
            raise ValueError("its price or its tickets are not those that were asked for")
        count = len(payment.get("ticket_sender_params", ()))
        return worth * count, count


def _told(body: bytes) -> dict[str, Any]:
    try:
        told = loads(body)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise ValueError("it is no JSON object")
    return told


def _with_info(known: Challenge, told: dict[str, Any]) -> Challenge:
    params = told.get("payment_params")
    if not isinstance(params, str) or not params:
        raise ValueError("it has no payment_params")
    if len(params) > PARAMS_LENGTH:
        raise ValueError(f"its payment_params have {len(params):,} letters")
    try:
        info = ORCHESTRATOR_INFO.decode_text(params)
    except ValueError as error:
        raise ValueError(f"its payment_params cannot be read: {error}") from None
    tickets = info.get("ticket_params", {})
    try:
        price, ticket = price_of(info.get("price_info", {})), ticket_value(tickets)
    except ValueError as error:
        raise ValueError(f"its payment_params name {error}") from None
    if ticket <= 0:
        raise ValueError("its tickets are worth nothing")
    if ticket > TICKET_LIMIT:
        raise ValueError(f"one of its tickets is worth {float(ticket):g} wei, which is absurd")
    recipient = tickets.get("recipient", b"")
    if len(recipient) != 20 or info.get("address", recipient) != recipient:
        raise ValueError("the recipient of its tickets is not its own address")
    session = info.get("auth_token", {}).get("session_id")
    if told.get("manifest_id") is not None and session != known.manifest_id:
        raise ValueError("its payment_params are about another session")
    return replace(known, params=params, price=price, ticket=ticket, recipient=recipient)
