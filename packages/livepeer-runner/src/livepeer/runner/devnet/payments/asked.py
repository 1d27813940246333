"""What a signer is asked, read: a request for a payment, and what an orchestrator wants. No I/O.

Texts are go-livepeer's, as recorded (specs/payments.md).
"""

from __future__ import annotations

import base64
import binascii
import json
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from livepeer.runner.devnet.payments import messages
from livepeer.runner.devnet.payments.messages import Fields

_UNITS = {"live": "seconds", "lv2v": "720p-pixel-seconds", "fixed": "fixed"}


class SignerRefusal(Exception):
    """A request that is turned away; `str()` is the reference's text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def fields_of(body: bytes) -> Fields:
    if not body.strip():
        raise SignerRefusal(400, "EOF")
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        letter = body.decode("utf-8", "replace").lstrip()[:1]
        text = f"invalid character {letter!r} looking for beginning of value"
        raise SignerRefusal(400, text) from None
    if not isinstance(asked, dict):
        text = "json: cannot unmarshal array into Go value of type server.RemotePaymentRequest"
        raise SignerRefusal(400, text)
    return {name.lower(): item for name, item in asked.items()}


def info_of(asked: Fields) -> Fields:
    text = asked.get("orchestrator") or ""
    if not text:
        raise SignerRefusal(400, "missing orchestrator")
    try:
        data = base64.b64decode(str(text), validate=True)
    except (ValueError, binascii.Error):
        raise SignerRefusal(400, "illegal base64 data at input byte 0") from None
    try:
        return messages.read(messages.ORCHESTRATOR_INFO, data)
    except ValueError:
        raise SignerRefusal(400, messages.BAD) from None


def check_capabilities(text: Any) -> None:
    """They are looked at, and have no use here."""
    try:
        messages.read({}, base64.b64decode(str(text), validate=True))
    except (ValueError, binascii.Error):
        raise SignerRefusal(400, messages.BAD) from None


def price_of(info: Fields) -> Fraction:
    price = info.get("price_info", {})
    wei, units = price.get("pricePerUnit", 0), price.get("pixelsPerUnit", 0)
    if wei <= 0 or units <= 0:
        raise SignerRefusal(400, "missing or zero priceInfo")
    return Fraction(wei, units)


def ceiling_of(asked: Any, kind: str) -> Fraction:
    if not kind:
        raise SignerRefusal(400, "maxPrice requires payment type live, lv2v, or fixed")
    known = {name.lower(): each for name, each in asked.items()} if isinstance(asked, dict) else {}
    try:
        number = Decimal(str(known.get("price", "0")))
        price = Fraction(number) if abs(number.adjusted()) < 100 else Fraction(0)
    except (InvalidOperation, ValueError):
        text = json.dumps(json.dumps(known.get("price")))
        raise SignerRefusal(
            400, f"json: invalid number literal, trying to unmarshal {text} into Number"
        ) from None
    if price <= 0:
        raise SignerRefusal(400, "maxPrice.price must be a positive decimal")
    if str(known.get("currency", "")).strip().lower() != "wei":
        raise SignerRefusal(400, "maxPrice.currency must be wei")
    if str(known.get("unit", "")).strip().lower() != _UNITS[kind]:
        text = f"maxPrice.unit must be {_UNITS[kind]} for payment type {kind}"
        raise SignerRefusal(400, text)
    return price
