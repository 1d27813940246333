"""What jobs cost, and what callers have paid for them: a balance for each caller and capability.

Off chain everything is free and everybody's signature is taken. On a chain it is as go-livepeer's
package `byoc` has it, its traps included: a balance has to cover a minute, whatever is asked; it
may go below 0; a payment that cannot be taken gets no answer. What the caller is not told is
logged.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import math
import re
import time
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from livepeer.runner.devnet.byoc.capabilities import Capabilities, CapabilityRecord
from livepeer.runner.devnet.listener import DropConnection
from livepeer.runner.devnet.payments import messages
from livepeer.runner.devnet.payments.keys import keccak256, signer_of
from livepeer.runner.devnet.payments.messages import Fields
from livepeer.runner.devnet.payments.newest import Newest
from livepeer.runner.devnet.payments.recipient import PaymentRefusal, Recipient

logger = logging.getLogger(__name__)

WANTED_SECONDS = 60
"""Seconds of the price that a balance has to cover."""
OVERHEAD = Fraction(101, 100)
"""go-livepeer adds the share of what it costs to redeem a ticket (`-autoAdjustPrice`)."""
_MOST_WEI = (1 << 63) - 1
_ADDRESS = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{40})")


class NoPrice(Exception):
    """Whoever asks cannot pay; `str()` is the reference's text."""


class InsufficientBalance(Exception):
    """What is there and what was paid do not cover a minute."""


@dataclass(frozen=True)
class JobAccount:
    """A job's: `sender` pays `price` whole wei for each second of `capability`."""

    sender: bytes
    capability: str
    price: int
    accounts: JobAccounts

    @property
    def balance(self) -> Fraction:
        """Wei that are left; below 0 where something is owed."""
        return self.accounts.balance(self.sender, self.capability)

    @property
    def headers(self) -> dict[str, str]:
        """What an answer tells of it."""
        return {"Livepeer-Balance": rounded(self.balance)}

    def debit(self, seconds: int) -> None:
        """Take the price of so many seconds, whether they are there or not."""
        if self.price:
            self.accounts.add(self.sender, self.capability, Fraction(-seconds * self.price))

    def charge_since(self, begun: float) -> None:
        """Take the price of the time since `begun`, in whole seconds, one at least."""
        self.debit(max(1, math.ceil(self.accounts.now() - begun)))


class JobAccounts:
    """Those of one orchestrator.

    - `recipient`: who takes the tickets; None off chain.
    """

    def __init__(self, capabilities: Capabilities, recipient: Recipient | None) -> None:
        self._capabilities = capabilities
        self._recipient = recipient
        self._balances: Newest[tuple[bytes, str], Fraction] = Newest()
        chain = recipient.chain if recipient is not None else None
        self.now = chain.now if chain is not None else time.time
        self.sleep = chain.sleep if chain is not None else asyncio.sleep

    def balance(self, sender: bytes, capability: str) -> Fraction:
        return self._balances.get((sender, capability), Fraction(0))

    def add(self, sender: bytes, capability: str, wei: Fraction) -> None:
        """To a balance; less than nothing takes it away."""
        self._balances[sender, capability] = self.balance(sender, capability) + wei

    async def signed(self, sender: str, text: str, signature: str) -> bool:
        """Is it this address's signature of this text? Hex, with or without `0x`."""
        digits = signature[2:] if len(signature) > 130 else signature
        try:
            found = bytes.fromhex(digits)
        except ValueError:
            return False
        if len(found) * 2 != len(digits):
            return False
        if self._recipient is None:
            return True
        digest = keccak256(text.encode("utf-8", "replace"))
        return await asyncio.to_thread(signer_of, digest, found) == address_of(sender)

    def token(self, sender: str, capability: str) -> Fields:
        """What a token tells of money. Raises `NoPrice`."""
        if self._recipient is None:
            return {"price": {"pixelsPerUnit": 1}}
        payer = address_of(sender)
        price = _price_info(self._price(payer, capability))
        told: Fields = {"ticket_params": _as_json(self._recipient.params(payer, price))}
        if balance := math.trunc(Fraction(rounded(self.balance(payer, capability), 3))):
            told["balance"] = balance
        return {**told, "price": price}

    async def confirmed(self, sender: str, capability: str, payment: str) -> JobAccount:
        """The account of a job that brings this `Livepeer-Payment`, or none (an empty text).

        Raises `NoPrice`, and `InsufficientBalance` where the balance does not cover a minute, what
        was paid just now included; that stays there. Raises `DropConnection` for a payment that
        cannot be taken; the job's place is lost where it is not even a message.
        """
        payer = address_of(sender)
        account = JobAccount(payer, capability, self._price(payer, capability), self)
        if account.price == 0:
            return account
        if payment:
            await self._take(capability, payment)
        if account.balance < account.price * WANTED_SECONDS:
            raise InsufficientBalance
        return account

    async def _take(self, capability: str, payment: str) -> None:
        assert self._recipient is not None
        try:
            told = messages.read(messages.PAYMENT, base64.b64decode(payment, validate=True))
        except (ValueError, binascii.Error):
            logger.warning(
                "a payment for %s is none, and the connection is dropped", ascii(capability)
            )
            raise DropConnection from None
        try:
            credit = await self._recipient.take(told)
        except PaymentRefusal as refusal:
            self._capabilities.free(capability)
            logger.warning(
                "a payment for %s is not taken, and the connection is dropped: %s",
                ascii(capability),
                refusal,
            )
            raise DropConnection from None
        payer = told.get("sender", b"")
        self.add(payer, capability, credit)
        left = self.balance(payer, capability)
        logger.info("%s is paid, %.0f wei are there", ascii(capability), left)

    def _price(self, payer: bytes, capability: str) -> int:
        if self._recipient is None:
            return 0
        if not self._recipient.chain.has_reserve(payer):
            raise NoPrice("insufficient sender reserve")
        record = self._capabilities.priced(capability)
        return _wei(record, self._recipient.chain.usd_per_ether) if record is not None else 0


def address_of(text: str) -> bytes:
    """An address as callers write it; that of nobody for anything else."""
    found = _ADDRESS.fullmatch(text)
    return bytes.fromhex(found[1]) if found is not None else bytes(20)


def rounded(wei: Fraction, places: int = 0) -> str:
    """As Go's `big.Rat.FloatString`: halves are rounded away from 0."""
    scaled = abs(wei) * 10**places
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    text = str(whole).rjust(places + 1, "0")
    text = f"{text[:-places]}.{text[-places:]}" if places else text
    return f"-{text}" if wei < 0 and whole else text


def _wei(record: CapabilityRecord, usd_per_ether: Fraction) -> int:
    """Whole wei for a second, rounded down."""
    price = Fraction(record.price_per_unit, record.price_scaling) * OVERHEAD
    if record.currency.lower() == "usd":
        price = price * 10**18 / usd_per_ether
    return min(max(0, price.numerator // price.denominator), _MOST_WEI)


def _price_info(wei: int) -> Fields:
    return {**({"pricePerUnit": wei} if wei else {}), "pixelsPerUnit": 1}


def _as_json(value: Any) -> Any:
    """As Go writes a message: bytes in base64."""
    if isinstance(value, dict):
        return {name: _as_json(each) for name, each in value.items()}
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
