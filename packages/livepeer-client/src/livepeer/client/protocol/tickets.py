"""The messages of go-livepeer that payments are made of (package `net`), and what a ticket is
worth. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from livepeer.client.protocol.protobuf import Field, Message

MOST: Final = (1 << 256) - 1
"""Of a face value, and the probability that is certainty."""

EXPIRATION_PARAMS: Final = Message(
    {1: Field("creation_round", "int"), 2: Field("creation_round_block_hash", "bytes")}
)
TICKET_PARAMS: Final = Message(
    {
        1: Field("recipient", "bytes"),
        2: Field("face_value", "bytes"),
        3: Field("win_prob", "bytes"),
        4: Field("recipient_rand_hash", "bytes"),
        5: Field("seed", "bytes"),
        6: Field("expiration_block", "bytes"),
        7: Field("expiration_params", EXPIRATION_PARAMS),
    }
)
PRICE_INFO: Final = Message({1: Field("pricePerUnit", "int"), 2: Field("pixelsPerUnit", "int")})
AUTH_TOKEN: Final = Message(
    {1: Field("token", "bytes"), 2: Field("session_id", "text"), 3: Field("expiration", "int")}
)
ORCHESTRATOR_INFO: Final = Message(
    {
        1: Field("transcoder", "text"),
        2: Field("ticket_params", TICKET_PARAMS),
        3: Field("price_info", PRICE_INFO),
        4: Field("address", "bytes"),
        6: Field("auth_token", AUTH_TOKEN),
    }
)
PAYMENT: Final = Message(
    {
        1: Field("ticket_params", TICKET_PARAMS),
        2: Field("sender", "bytes"),
        3: Field("expiration_params", EXPIRATION_PARAMS),
        4: Field(
            "ticket_sender_params",
            Message({1: Field("sender_nonce", "int"), 2: Field("sig", "bytes")}),
            repeated=True,
        ),
        5: Field("expected_price", PRICE_INFO),
    }
)


SEG_DATA: Final = Message(
    {
        1: Field("manifestId", "bytes"),
        2: Field("seq", "int"),
        3: Field("hash", "bytes"),
        4: Field("profiles", "bytes"),
        5: Field("sig", "bytes"),
        6: Field("duration", "int"),
        8: Field("auth_token", AUTH_TOKEN),
    }
)


def ticket_value(params: Mapping[str, Any]) -> Fraction:
    """Wei that a ticket with these `TICKET_PARAMS` is worth: its face value by the probability of
    its win. Raises `ValueError` for numbers that no ticket has."""
    face, win = params.get("face_value", b""), params.get("win_prob", b"")
    if len(face) > 32 or len(win) > 32:
        raise ValueError("numbers of more than 256 bits")
    return Fraction(int.from_bytes(face) * int.from_bytes(win), MOST)


def price_of(info: Mapping[str, Any]) -> Fraction:
    """Wei for each unit by a `PRICE_INFO`. Raises `ValueError` for what is no price above 0."""
    price, units = info.get("pricePerUnit", 0), info.get("pixelsPerUnit", 0)
    if price <= 0 or units <= 0:
        raise ValueError("no price above 0")
    return Fraction(price, units)
