"""The mint of a signer: what is due by a state, the tickets for it, and the state after. No I/O.

As strict as the reference: a state is signed, belongs to one app, type and orchestrator, and what
is due follows from the time since the payment before.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import logging
import secrets
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from livepeer.runner.devnet.payments import messages
from livepeer.runner.devnet.payments.asked import (
    SignerRefusal,
    ceiling_of,
    check_capabilities,
    fields_of,
    info_of,
    price_of,
)
from livepeer.runner.devnet.payments.chain import ROUND, ROUND_HASH, LocalChain
from livepeer.runner.devnet.payments.keys import keccak256
from livepeer.runner.devnet.payments.messages import Fields
from livepeer.runner.devnet.payments.newest import MOST_KEPT, Newest
from livepeer.runner.devnet.payments.tickets import (
    FIRST_UNITS,
    MOST_TICKETS,
    PIXELS,
    count,
    segment_hash,
    ticket_hash,
    value,
)
from livepeer.runner.devnet.payments.till import AUTH_SECONDS

logger = logging.getLogger(__name__)

MAX_TICKET_EV = Fraction(3 * 10**12)
MAX_TOTAL_EV = Fraction(2 * 10**13)
"""Wei of one ticket, and of one payment: the reference's defaults."""
LEAST_FACE_VALUE = 10**15
DEPOSIT = 10 * 10**18
_SESSION = "remote signer could not check whether to refresh session: "


@dataclass(frozen=True)
class MadePayment:
    """One payment that it made."""

    app: str
    at: float
    wei: Fraction
    tickets: int
    sequence: int
    """0 for the first one by a state."""
    state: str = field(repr=False)
    """Names the states that follow from one another."""


class Mint:
    """Of one signer, whose key is the chain's payer."""

    def __init__(self, chain: LocalChain) -> None:
        self.payments: list[MadePayment] = []
        self.reused = 0
        """Times that a state came again: two payments of it carry the same tickets."""
        self._chain = chain
        self._secret = secrets.token_bytes(32)
        self._used: Newest[str, None] = Newest()

    def __repr__(self) -> str:
        return f"Mint({self._chain.payer.name}, {len(self.payments)} payments)"

    def pay(self, body: bytes) -> Fields:
        """The answer to a request for a payment; raises `SignerRefusal`. In the reference's order
        of checks."""
        asked = fields_of(body)
        info = info_of(asked)
        price, params = price_of(info), info.get("ticket_params")
        if params is None:
            raise SignerRefusal(400, "missing ticketParams in OrchestratorInfo")
        state = self._state(asked)
        manifest = asked.get("manifestid", "")
        if state and not manifest:
            raise SignerRefusal(400, "missing manifestID")
        if not isinstance(manifest, str):
            raise SignerRefusal(
                400,
                "json: cannot unmarshal number into Go struct field"
                " RemotePaymentRequest.ManifestID of type string",
            )
        check_capabilities(asked.get("capabilities") or "")
        self._check_fresh(info, params)
        worth = self._check_ticket(params)
        kind, app = asked.get("type", "") or "", asked.get("app", "") or ""
        fee_units = self._units(kind, asked.get("inpixels", 0) or 0, state)
        address = info.get("address", b"").hex()
        for name, text, known in (
            ("app", app, "App"),
            ("job type", kind, "Type"),
            ("orchestratorAddress", address, "OrchestratorAddress"),
        ):
            if state and state[known] != text:
                raise SignerRefusal(400, f"{name} mismatch")
        self._check_price(price, asked.get("maxprice"), kind, state)
        initial = Fraction(state["Price"]) if state else price
        balance = Fraction(state.get("Balance", "0"))
        fee = initial * fee_units
        due = count(fee, worth, balance) if worth else 0
        if due == 0:
            raise SignerRefusal(482, "no tickets")
        if due > MOST_TICKETS:
            raise SignerRefusal(400, f"numTickets {due} exceeds maximum of {MOST_TICKETS}")
        if due * worth > MAX_TOTAL_EV:
            raise SignerRefusal(500, "Internal Server Error")
        payment, nonce = self._payment(info, params, due, state)
        manifest = manifest or secrets.token_hex(4)
        new = {
            "StateID": state.get("StateID") or secrets.token_hex(4),
            "PMSessionID": "0x" + params.get("recipient_rand_hash", b"").hex(),
            "LastUpdate": self._chain.now(),
            "OrchestratorAddress": address,
            "App": app,
            "SenderNonce": nonce,
            "Balance": str(balance + due * worth - fee),
            "Price": str(initial),
            "Type": kind,
            "SequenceNumber": state.get("SequenceNumber", -1) + 1,
        }
        if len(self.payments) < MOST_KEPT:
            made = MadePayment(
                app, new["LastUpdate"], due * worth, due, new["SequenceNumber"], new["StateID"]
            )
            self.payments.append(made)
        logger.info("paid %.0f wei for %s (%d tickets)", due * worth, ascii(app), due)
        return {
            "payment": base64.b64encode(payment).decode(),
            "segCreds": base64.b64encode(self._segment(manifest, info)).decode(),
            "state": self._sealed(new),
        }

    def _state(self, asked: Fields) -> Fields:
        given = asked.get("state")
        if given is None or given == {}:
            return {}
        if not isinstance(given, dict):
            raise SignerRefusal(
                400,
                "json: cannot unmarshal string into Go struct field RemotePaymentRequest.state of"
                " type server.RemotePaymentStateSig",
            )
        known = {name.lower(): text for name, text in given.items()}
        try:
            data = base64.b64decode(str(known.get("state", "")), validate=True)
            seal = base64.b64decode(str(known.get("sig", "")), validate=True)
        except (ValueError, binascii.Error):
            raise SignerRefusal(400, "illegal base64 data at input byte 0") from None
        if not hmac.compare_digest(hmac.digest(self._secret, data, hashlib.sha256), seal):
            raise SignerRefusal(400, "invalid sig")
        text = str(known["state"])
        if text in self._used:
            self.reused += 1
        found: Fields = json.loads(data)
        return found | {"_text": text}

    def _sealed(self, state: Fields) -> Fields:
        data = json.dumps(state).encode()
        seal = hmac.digest(self._secret, data, hashlib.sha256)
        return {"State": base64.b64encode(data).decode(), "Sig": base64.b64encode(seal).decode()}

    def _check_fresh(self, info: Fields, params: Fields) -> None:
        token = info.get("auth_token")
        if token is None:
            raise SignerRefusal(400, _SESSION + "missing auth token")
        block = int.from_bytes(params.get("expiration_block", b""))
        if not block:
            raise SignerRefusal(400, _SESSION + "ticketParams expiration block is 0")
        late = token.get("expiration", 0) - self._chain.now() < AUTH_SECONDS / 10
        if late or block <= self._chain.block + 1:
            raise SignerRefusal(480, "refresh session for remote signer")

    def _check_ticket(self, params: Fields) -> Fraction:
        worth = value(params)
        if worth > MAX_TICKET_EV:
            text = f"ticket EV {float(worth):.5f} > max ticket EV {float(MAX_TICKET_EV):.5f}"
            raise SignerRefusal(400, _SESSION + text)
        if not self._chain.has_reserve(self._chain.payer.address):
            raise SignerRefusal(400, _SESSION + "no sender reserve")
        face = int.from_bytes(params.get("face_value", b""))
        if worth and face < LEAST_FACE_VALUE:
            text = f"ticket faceValue too low faceValue={face}"
            raise SignerRefusal(400, _SESSION + text)
        if face > DEPOSIT:
            text = f"ticket faceValue {face} > max faceValue {DEPOSIT}"
            raise SignerRefusal(400, _SESSION + text)
        return worth

    def _units(self, kind: Any, pixels: Any, state: Fields) -> Fraction:
        if kind == "":
            if not isinstance(pixels, int) or pixels <= 0:
                raise SignerRefusal(400, "missing billable unit or job type")
            return Fraction(pixels)
        if kind not in FIRST_UNITS:
            raise SignerRefusal(400, "invalid job type")
        if not state or kind == "fixed":
            return Fraction(FIRST_UNITS[kind])
        passed = Fraction(max(0.0, self._chain.now() - state["LastUpdate"]))
        return passed * PIXELS if kind == "lv2v" else Fraction(-(-passed // 1) or 1)

    def _check_price(self, price: Fraction, ceiling: Any, kind: str, state: Fields) -> None:
        ceilings = []
        if ceiling is not None:
            ceilings.append((ceiling_of(ceiling, kind), "request maxPrice"))
        if state:
            ceilings.append((Fraction(state["Price"]), "initial session price"))
        for most, what in sorted(ceilings, key=lambda each: each[0]):
            if price > most:
                text = f"orchestrator price {float(price):.3f} exceeds {what} ceiling"
                raise SignerRefusal(481, f"{text} {float(most):.3f}")

    def _payment(self, info: Fields, params: Fields, due: int, state: Fields) -> tuple[bytes, int]:
        key = self._chain.payer
        expiration = params.get("expiration_params") or {}
        if not expiration.get("creation_round"):
            expiration = {"creation_round": ROUND, "creation_round_block_hash": ROUND_HASH}
        same = state.get("PMSessionID") == "0x" + params.get("recipient_rand_hash", b"").hex()
        first = state["SenderNonce"] if same else 0
        tickets = [
            {
                "sender_nonce": nonce,
                "sig": key.sign(ticket_hash(params, expiration, key.address, nonce)),
            }
            for nonce in range(first + 1, first + due + 1)
        ]
        if state:
            self._used[state["_text"]] = None
        sent = {name: item for name, item in params.items() if name != "expiration_params"}
        payment = {
            "ticket_params": sent,
            "sender": key.address,
            "expiration_params": expiration,
            "ticket_sender_params": tickets,
            "expected_price": info["price_info"],
        }
        return messages.write(messages.PAYMENT, payment), first + due

    def _segment(self, manifest: str, info: Fields) -> bytes:
        content, name = keccak256(b""), manifest.encode()
        segment = {
            "manifestId": name,
            "hash": content,
            "profiles": b"invalid",
            "sig": self._chain.payer.sign(segment_hash(name, 0, content)),
            "auth_token": info["auth_token"],
        }
        return messages.write(messages.SEGMENT, segment)
