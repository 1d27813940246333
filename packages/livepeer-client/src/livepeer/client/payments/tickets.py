"""Tickets made here, as go-livepeer's own packages make them. No I/O.

A ticket is worth `face_value` with a chance of `win_prob` in 2^256 - 1; so many are made that what
they are worth on average covers the fee. Source: pm.Ticket, server/remote_signer.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Self

from livepeer.client.protocol.tickets import PAYMENT, SEG_DATA, ticket_value

MOST_TICKETS: Final = 100
"""In one payment; an orchestrator refuses more."""

Sign = Callable[[bytes], bytes]
"""Signs 32 bytes as a personal message: r, s, and v of 27 or 28."""

_EMPTY: Final = bytes.fromhex("c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470")
"""keccak256 of nothing: the hash of an empty segment."""


def keccak(data: bytes) -> bytes:
    """Ethereum's hash: 32 bytes."""
    from eth_utils.crypto import keccak as digest

    return bytes(digest(primitive=data))


@dataclass(frozen=True, slots=True)
class Terms:
    """The `ticket_params` of an orchestrator, checked: what tickets for it are made of."""

    params: Mapping[str, Any]
    value: Fraction
    """Wei that one ticket is worth on average."""

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Self:
        """Parse the terms of an `OrchestratorInfo`. Raises `ValueError`."""
        expiration = params.get("expiration_params", {})
        for of, name, lengths in (
            (params, "recipient", (20,)),
            (params, "recipient_rand_hash", (32,)),
            (expiration, "creation_round_block_hash", (0, 32)),
        ):
            if len(of.get(name, b"")) not in lengths:
                raise ValueError(f"its {name} has {len(of.get(name, b''))} bytes")
        if not 0 <= expiration.get("creation_round", 0):
            raise ValueError("its creation_round is below 0")
        value = ticket_value(params)
        if not value:
            raise ValueError("its tickets are worth nothing")
        return cls(params, value)

    @property
    def rand_hash(self) -> bytes:
        """The hash of the orchestrator's secret, 32 bytes; nonces are counted for each."""
        return bytes(self.params["recipient_rand_hash"])

    def tickets(self, fee: Fraction, balance: Fraction) -> int:
        """How many bring `balance` to where it covers the fee; the value of one is asked for at
        least, so that one is always in hand. 0 where that is so already."""
        return max(0, -((balance - max(fee, self.value)) // self.value))

    def hash(self, sender: bytes, nonce: int) -> bytes:
        """The hash of one ticket that is signed: keccak256 of its packed fields, 32 bytes."""
        expiration = self.params.get("expiration_params", {})
        creation_round = expiration.get("creation_round", 0)
        block = expiration.get("creation_round_block_hash", b"") or bytes(32)
        packed = (
            self.params["recipient"]
            + sender
            + self.params.get("face_value", b"").rjust(32, b"\0")
            + self.params.get("win_prob", b"").rjust(32, b"\0")
            + nonce.to_bytes(32)
            + self.rand_hash
        )
        if creation_round or any(block):
            packed += creation_round.to_bytes(32) + block
        return keccak(packed)

    def payment(
        self, sender: bytes, nonces: Iterable[int], price: Mapping[str, Any], sign: Sign
    ) -> str:
        """A `net.Payment` with one ticket for each nonce, at the expected price."""
        bare = {name: value for name, value in self.params.items() if name != "expiration_params"}
        values: dict[str, Any] = {
            "ticket_params": bare,
            "sender": sender,
            "ticket_sender_params": [
                {"sender_nonce": nonce, "sig": sign(self.hash(sender, nonce))} for nonce in nonces
            ],
            "expected_price": price,
        }
        if "expiration_params" in self.params:
            values["expiration_params"] = self.params["expiration_params"]
        return PAYMENT.encode_text(values)


def credentials(manifest_id: str, auth_token: Mapping[str, Any], sign: Sign) -> str:
    """A `net.SegData` in base64: of an empty segment, which stands for a session."""
    manifest = manifest_id.encode()
    return SEG_DATA.encode_text(
        {
            "manifestId": manifest,
            "hash": _EMPTY,
            "profiles": b"invalid",
            "sig": sign(keccak(manifest + bytes(32) + _EMPTY)),
            "auth_token": auth_token,
        }
    )
