"""The orchestrator's side of payments: what it asks, the tickets it takes, the balances it keeps.

No I/O. Texts and the order of checks are go-livepeer's, as recorded (specs/payments.md).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from livepeer.runner.devnet.payments import messages
from livepeer.runner.devnet.payments.chain import ROUND, ROUND_HASH, LocalChain
from livepeer.runner.devnet.payments.keys import checksummed, signer_of
from livepeer.runner.devnet.payments.keys import keccak256 as keccak
from livepeer.runner.devnet.payments.messages import Fields
from livepeer.runner.devnet.payments.tickets import (
    EXPIRES_BLOCKS,
    FACE_VALUE,
    PIXELS,
    TICKET_EV,
    segment_hash,
    ticket_hash,
    value,
    win_probability,
)

AUTH_SECONDS = 1800
MOST_NONCES = 600
MOST_ACCOUNTS = 10_000
"""Pairs of a payer and a session that are remembered, and tickets' parameters."""
UNITS = {"hour": "seconds", "720p": "720p-pixel-seconds", "fixed": "fixed"}
RATES = {"seconds": 1, "720p-pixel-seconds": PIXELS, "fixed": 0}
"""Units of a second."""
_ADDRESS = re.compile(r"(?:0x)?[0-9A-Fa-f]{40}")


class PaymentRefusal(Exception):
    """A payment that is not taken; `str()` is the reference's text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class PriceTag:
    """Whole wei for each unit."""

    wei: int
    unit: str

    @property
    def info(self) -> Fields:
        return {"pricePerUnit": self.wei, "pixelsPerUnit": 1}


@dataclass(frozen=True)
class Paid:
    """A payment whose headers are in order. Its tickets have not been looked at."""

    sender: bytes
    manifest: str
    session: str = field(repr=False)
    """That of its auth token."""
    payment: Fields = field(repr=False)


class Till:
    """Of one orchestrator."""

    def __init__(self, chain: LocalChain, address: str, ticket_ev: int = TICKET_EV) -> None:
        self.chain = chain
        self.income = Fraction(0)
        """Wei of all tickets that were taken."""
        self._address, self._ev = address, ticket_ev
        self._secret = secrets.token_bytes(32)
        self._prices: dict[tuple[bytes, str], PriceTag] = {}
        self._balances: dict[tuple[bytes, str], Fraction] = {}
        self._seen: dict[bytes, set[int]] = {}

    def __repr__(self) -> str:
        return f"Till({len(self._prices)} sessions, {float(self.income):g} wei)"

    # -- what is asked ----------------------------------------------------------------------------

    def price(self, price: str, unit: str) -> PriceTag | None:
        """A runner's price in USD as whole wei, rounded down; None where that is less than one."""
        unit = unit.strip().lower() or "hour"
        try:
            usd = Fraction(Decimal(price.strip()))
        except InvalidOperation:
            return None
        wei = usd * 10**18 / self.chain.usd_per_ether
        divisor = {"hour": 3600, "720p": 3600 * PIXELS, "fixed": 1}[unit]
        whole = wei / divisor // 1
        return PriceTag(whole, UNITS[unit]) if 0 < whole < 1 << 63 else None

    def payer(self, text: str) -> bytes:
        """Who would pay; raises `PaymentRefusal`."""
        if not _ADDRESS.fullmatch(text):
            raise PaymentRefusal(402, "invalid live runner payment signer address")
        sender = bytes.fromhex(text[-40:])
        if not self.chain.has_reserve(sender):
            raise PaymentRefusal(500, "insufficient sender reserve")
        return sender

    def challenge(self, sender: bytes, manifest: str, price: PriceTag, url: str) -> Fields:
        """The JSON of a 402. The session keeps this price."""
        _remember(self._prices, (sender, manifest), price)
        return {
            "payment_params": base64.b64encode(self._info(sender, manifest, price)).decode(),
            "orchestrator": self._address,
            "manifest_id": manifest,
            "payment_url": url,
        }

    def refreshed(self, sender: str, manifest: str) -> Fields:
        """The JSON of `/refresh-payment`; raises `PaymentRefusal`."""
        if not _ADDRESS.fullmatch(sender):
            raise PaymentRefusal(400, "invalid sender")
        if not manifest:
            raise PaymentRefusal(400, "missing manifest_id")
        payer = bytes.fromhex(sender[-40:])
        price = self._prices.get((payer, manifest))
        if price is None:
            raise PaymentRefusal(409, "fixed price not found for session")
        return self.challenge(payer, manifest, price, f"{self._address}/payment")

    def result(self, paid: Paid) -> bytes:
        """The `net.PaymentResult` that answers a payment."""
        price = self._prices[paid.sender, paid.manifest]
        info = messages.read(
            messages.ORCHESTRATOR_INFO, self._info(paid.sender, paid.manifest, price)
        )
        return messages.write(messages.PAYMENT_RESULT, {"info": info})

    def _info(self, sender: bytes, manifest: str, price: PriceTag) -> bytes:
        recipient = self.chain.orchestrator.address
        params = {
            "recipient": recipient,
            "face_value": _minimal(FACE_VALUE),
            "win_prob": _minimal(win_probability(self._ev)),
            "seed": secrets.token_bytes(32),
            "expiration_block": _minimal(self.chain.block + EXPIRES_BLOCKS),
            "expiration_params": {"creation_round": ROUND, "creation_round_block_hash": ROUND_HASH},
        }
        params["recipient_rand_hash"] = self._rand_hash(sender, params, price.info)
        expiration = int(self.chain.now()) + AUTH_SECONDS
        return messages.write(
            messages.ORCHESTRATOR_INFO,
            {
                "transcoder": self._address,
                "ticket_params": params,
                "price_info": price.info,
                "address": recipient,
                "auth_token": {
                    "token": self._token(manifest, expiration),
                    "session_id": manifest,
                    "expiration": expiration,
                },
            },
        )

    def _rand_hash(self, sender: bytes, params: Fields, price: Fields) -> bytes:
        """Bound to all that must not be changed in a ticket, its price included."""
        said = [params.get("seed", b""), sender]
        said += [params.get(name, b"") for name in ("face_value", "win_prob", "expiration_block")]
        said += [b"%d/%d" % (price.get("pricePerUnit", 0), price.get("pixelsPerUnit", 0))]
        return keccak(
            hmac.digest(
                self._secret, b"|".join(each.hex().encode() for each in said), hashlib.sha256
            )
        )

    def _token(self, session: str, expiration: int) -> bytes:
        return hmac.digest(self._secret, f"auth {session} {expiration}".encode(), hashlib.sha256)

    # -- what is paid -----------------------------------------------------------------------------

    @staticmethod
    def is_paid(headers: Mapping[str, str]) -> bool:
        """Does a request bring a payment?"""
        return "Livepeer-Payment" in headers or "Livepeer-Segment" in headers

    def read(self, headers: Mapping[str, str]) -> Paid:
        """The payment of a request, as far as its headers tell; raises `PaymentRefusal`."""
        try:
            payment = messages.read(messages.PAYMENT, _decoded(headers.get("Livepeer-Payment", "")))
        except _NoBase64 as bad:
            raise PaymentRefusal(402, f"base64 decode error: {bad}") from None
        except ValueError:
            raise PaymentRefusal(402, f"protobuf unmarshal error: {messages.BAD}") from None
        text = headers.get("Livepeer-Segment", "")
        try:
            segment = messages.read(messages.SEGMENT, _decoded(text))
        except _NoBase64:
            raise PaymentRefusal(403, "ErrorSegEncoding") from None
        except ValueError:
            raise PaymentRefusal(403, messages.BAD) from None
        sender, manifest = payment.get("sender", b""), segment.get("manifestId", b"")
        said = segment_hash(manifest, segment.get("seq", 0), segment.get("hash", b""))
        if not sender or signer_of(said, segment.get("sig", b"")) != sender:
            raise PaymentRefusal(403, "ErrSegSig")
        token = segment.get("auth_token")
        if token is None:
            raise PaymentRefusal(403, "missing auth token")
        session, expiration = token.get("session_id", ""), token.get("expiration", 0)
        if not hmac.compare_digest(token.get("token", b""), self._token(session, expiration)):
            raise PaymentRefusal(403, "invalid auth token")
        if expiration < self.chain.now():
            raise PaymentRefusal(403, "expired auth token")
        return Paid(sender, manifest.decode("utf-8", "replace"), session, payment)

    def fixed(self, paid: Paid, price: PriceTag) -> None:
        """A fixed price has to be the expected one; raises `PaymentRefusal`."""
        if price.unit == "fixed" and paid.payment.get("expected_price") != price.info:
            raise PaymentRefusal(400, "payment price does not match live runner price")

    def take(self, paid: Paid) -> None:
        """All of its tickets, or none: then raises `PaymentRefusal`."""
        payment = paid.payment
        params, sent = payment.get("ticket_params", {}), payment.get("ticket_sender_params", [])
        price = payment.get("expected_price")
        if price is None:
            text = 'invalid expected price sent with payment err="expected price is nil"'
            raise PaymentRefusal(400, text)
        if not sent:
            raise PaymentRefusal(400, "the payment has no tickets")
        expiration = payment.get("expiration_params")
        if expiration is None:
            raise PaymentRefusal(400, "the payment has no expiration_params")
        recipient = params.get("recipient", b"")
        if recipient != self.chain.orchestrator.address:
            raise PaymentRefusal(
                400,
                f"orchestrator {checksummed(recipient.rjust(20, b'0')[:20])} is inactive in round"
                f" {ROUND}, cannot process payments",
            )
        rand_hash = params.get("recipient_rand_hash", b"")
        if self._rand_hash(paid.sender, params, price) != rand_hash:
            raise PaymentRefusal(400, "invalid recipientRand for ticket recipientRandHash")
        seen = self._seen.get(rand_hash, set())
        nonces = [each.get("sender_nonce", 0) for each in sent]
        for each in sent:
            said = ticket_hash(params, expiration, paid.sender, each.get("sender_nonce", 0))
            if signer_of(said, each.get("sig", b"")) != paid.sender:
                raise PaymentRefusal(400, "invalid ticket signature")
        if again := [nonce for nonce in nonces if nonce in seen]:
            raise PaymentRefusal(
                400,
                f"invalid ticket senderNonce: already seen sender={checksummed(paid.sender)}"
                f" nonce={again[-1]}",
            )
        if len(seen) + len(nonces) > MOST_NONCES or len(set(nonces)) < len(nonces):
            raise PaymentRefusal(400, "invalid ticket senderNonce: too many values")
        if int.from_bytes(params.get("expiration_block", b"")) <= self.chain.block:
            raise PaymentRefusal(400, "TicketParams expired")
        _remember(self._seen, rand_hash, seen | set(nonces))
        credit = value(params) * len(sent)
        self.income += credit
        account = (paid.sender, paid.manifest)
        _remember(self._balances, account, self._balances.get(account, Fraction(0)) + credit)

    def balance(self, paid: Paid) -> Fraction:
        """Wei that are left of what was paid for the session."""
        return self._balances.get((paid.sender, paid.manifest), Fraction(0))

    def debit(self, paid: Paid, price: PriceTag, seconds: float) -> bool:
        """Take so many seconds of the price (of a fixed one: all of it). False where it is not
        there; then nothing is taken."""
        units = Fraction(1) if price.unit == "fixed" else RATES[price.unit] * Fraction(seconds)
        left = self.balance(paid) - units * price.wei
        if left < 0:
            return False
        self._balances[paid.sender, paid.manifest] = left
        return True


class _NoBase64(Exception):
    pass


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        bad = next((i for i, letter in enumerate(text) if not _is_base64(letter)), None)
        at = bad if bad is not None else len(text) // 4 * 4
        raise _NoBase64(f"illegal base64 data at input byte {at}") from None


def _is_base64(letter: str) -> bool:
    return letter.isascii() and (letter.isalnum() or letter in "+/=")


def _minimal(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8)


def _remember(known: dict[Any, Any], key: Any, item: Any) -> None:
    while len(known) >= MOST_ACCOUNTS and key not in known:
        known.pop(next(iter(known)))
    known[key] = item
