"""Who is paid by tickets: the parameters that it asks for, and the tickets that it takes.

No I/O. Texts and the order of checks are go-livepeer's, as recorded (specs/payments.md).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from fractions import Fraction

from livepeer.runner.devnet.payments.chain import ROUND, ROUND_HASH, LocalChain
from livepeer.runner.devnet.payments.keys import checksummed, signer_of
from livepeer.runner.devnet.payments.keys import keccak256 as keccak
from livepeer.runner.devnet.payments.messages import Fields
from livepeer.runner.devnet.payments.newest import Newest
from livepeer.runner.devnet.payments.tickets import (
    EXPIRES_BLOCKS,
    FACE_VALUE,
    TICKET_EV,
    ticket_hash,
    value,
    win_probability,
)

MOST_NONCES = 600
_BOUND = ("face_value", "win_prob", "expiration_block")


class PaymentRefusal(Exception):
    """A payment that is not taken; `str()` is the reference's text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Recipient:
    """The one of an orchestrator, for all that it sells: a ticket is taken once.

    - `ticket_ev`: wei that a ticket is to be worth (`-ticketEV`).
    """

    def __init__(self, chain: LocalChain, ticket_ev: int = TICKET_EV) -> None:
        self.chain = chain
        self.income = Fraction(0)
        """Wei of all tickets that were taken."""
        self._ev = ticket_ev
        self._secret = secrets.token_bytes(32)
        self._seen: Newest[bytes, frozenset[int]] = Newest()

    def __repr__(self) -> str:
        return f"Recipient({self.chain.orchestrator.name}, {float(self.income):g} wei)"

    @property
    def address(self) -> bytes:
        return self.chain.orchestrator.address

    def params(self, sender: bytes, price: Fields) -> Fields:
        """New `net.TicketParams`, for one payer and one price: tickets of a free one are worth
        nothing."""
        worth = {
            "face_value": _minimal(FACE_VALUE),
            "win_prob": _minimal(win_probability(self._ev)),
        }
        params = {
            "recipient": self.address,
            **(worth if price.get("pricePerUnit") else {}),
            "seed": secrets.token_bytes(32),
            "expiration_block": _minimal(self.chain.block + EXPIRES_BLOCKS),
            "expiration_params": {"creation_round": ROUND, "creation_round_block_hash": ROUND_HASH},
        }
        return {**params, "recipient_rand_hash": self._rand_hash(sender, params, price)}

    def _rand_hash(self, sender: bytes, params: Fields, price: Fields) -> bytes:
        """Bound to all that must not be changed in a ticket, its price included."""
        said = [params.get("seed", b""), sender, *(params.get(name, b"") for name in _BOUND)]
        said += [b"%d/%d" % (price.get("pricePerUnit", 0), price.get("pixelsPerUnit", 0))]
        text = b"|".join(each.hex().encode() for each in said)
        return keccak(hmac.digest(self._secret, text, hashlib.sha256))

    async def take(self, payment: Fields) -> Fraction:
        """All tickets of a `net.Payment`, and the wei that they are worth; or none of them, and
        raises `PaymentRefusal`."""
        params, sent = payment.get("ticket_params", {}), payment.get("ticket_sender_params", [])
        sender, price = payment.get("sender", b""), payment.get("expected_price")
        if price is None:
            text = 'invalid expected price sent with payment err="expected price is nil"'
            raise PaymentRefusal(400, text)
        if not sent:
            return Fraction(0)
        expiration = payment.get("expiration_params")
        if expiration is None:
            raise PaymentRefusal(400, "the payment has no expiration_params")
        recipient = params.get("recipient", b"")
        if recipient != self.address:
            raise PaymentRefusal(
                400,
                f"orchestrator {checksummed(recipient.rjust(20, b'0')[:20])} is inactive in round"
                f" {ROUND}, cannot process payments",
            )
        rand_hash = params.get("recipient_rand_hash", b"")
        if self._rand_hash(sender, params, price) != rand_hash:
            raise PaymentRefusal(400, "invalid recipientRand for ticket recipientRandHash")
        nonces = [each.get("sender_nonce", 0) for each in sent]
        if len(nonces) > MOST_NONCES or len(set(nonces)) < len(nonces):
            raise PaymentRefusal(400, "invalid ticket senderNonce: too many values")
        # Python's arithmetic; what follows is done in one step, so that no ticket is taken twice.
        if not await asyncio.to_thread(_are_signed, payment):
            raise PaymentRefusal(400, "invalid ticket signature")
        seen = self._seen.get(rand_hash, frozenset())
        if again := [nonce for nonce in nonces if nonce in seen]:
            raise PaymentRefusal(
                400,
                f"invalid ticket senderNonce: already seen sender={checksummed(sender)}"
                f" nonce={again[-1]}",
            )
        if len(seen) + len(nonces) > MOST_NONCES:
            raise PaymentRefusal(400, "invalid ticket senderNonce: too many values")
        if int.from_bytes(params.get("expiration_block", b"")) <= self.chain.block:
            raise PaymentRefusal(400, "TicketParams expired")
        self._seen[rand_hash] = seen | set(nonces)
        worth = value(params) * len(sent)
        self.income += worth
        return worth


def _are_signed(payment: Fields) -> bool:
    """Every ticket, by who pays."""
    sender = payment.get("sender", b"")
    return all(
        signer_of(
            ticket_hash(
                payment["ticket_params"],
                payment["expiration_params"],
                sender,
                each.get("sender_nonce", 0),
            ),
            each.get("sig", b""),
        )
        == sender
        for each in payment["ticket_sender_params"]
    )


def _minimal(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8)
