"""The orchestrator's side of sessions that cost money: what it asks, and the balances it keeps.

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

from livepeer.runner.devnet.payments import messages
from livepeer.runner.devnet.payments.keys import signer_of
from livepeer.runner.devnet.payments.messages import Fields
from livepeer.runner.devnet.payments.newest import Newest
from livepeer.runner.devnet.payments.recipient import PaymentRefusal, Recipient
from livepeer.runner.devnet.payments.tickets import PIXELS, segment_hash

AUTH_SECONDS = 1800
UNITS = {"hour": "seconds", "720p": "720p-pixel-seconds", "fixed": "fixed"}
RATES = {"seconds": 1, "720p-pixel-seconds": PIXELS, "fixed": 0}
"""Units of a second."""
_ADDRESS = re.compile(r"(?:0x)?[0-9A-Fa-f]{40}")


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
    """Of the live runners of one orchestrator."""

    def __init__(self, recipient: Recipient, address: str) -> None:
        self.chain = recipient.chain
        self._recipient, self._address = recipient, address
        self._secret = secrets.token_bytes(32)
        self._prices: Newest[tuple[bytes, str], PriceTag] = Newest()
        self._balances: Newest[tuple[bytes, str], Fraction] = Newest()

    def __repr__(self) -> str:
        return f"Till({len(self._prices)} sessions)"

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
        self._prices[sender, manifest] = price
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
        expiration = int(self.chain.now()) + AUTH_SECONDS
        return messages.write(
            messages.ORCHESTRATOR_INFO,
            {
                "transcoder": self._address,
                "ticket_params": self._recipient.params(sender, price.info),
                "price_info": price.info,
                "address": self._recipient.address,
                "auth_token": {
                    "token": self._token(manifest, expiration),
                    "session_id": manifest,
                    "expiration": expiration,
                },
            },
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

    async def take(self, paid: Paid) -> None:
        """All of its tickets, or none: then raises `PaymentRefusal`."""
        credit = await self._recipient.take(paid.payment)
        if not credit:
            raise PaymentRefusal(400, "the payment has no tickets")
        self._balances[paid.sender, paid.manifest] = self.balance(paid) + credit

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
