"""A remote signer of a local network: go-livepeer's, with test money.

It signs for real, with the payer's test key, and is as strict as the reference: a state is signed,
belongs to one app, type and orchestrator, and what is due follows from the time since the payment
before. What it made is kept in `payments`, so that a test can look.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import logging
import secrets
import socket
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from types import TracebackType
from typing import Any

from aiohttp import web

from livepeer.runner.devnet import listener
from livepeer.runner.devnet.go_http import error, only, read_small, reply
from livepeer.runner.devnet.payments import messages
from livepeer.runner.devnet.payments.chain import ROUND, ROUND_HASH, LocalChain
from livepeer.runner.devnet.payments.keys import keccak256
from livepeer.runner.devnet.payments.messages import Fields
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

MOST_BYTES = 1 << 20
MOST_KEPT = 10_000
MAX_TICKET_EV = Fraction(3 * 10**12)
MAX_TOTAL_EV = Fraction(2 * 10**13)
"""Wei of one ticket, and of one payment: the reference's defaults."""
LEAST_FACE_VALUE = 10**15
DEPOSIT = 10 * 10**18
_UNITS = {"live": "seconds", "lv2v": "720p-pixel-seconds", "fixed": "fixed"}
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


class SignerRefusal(Exception):
    """A request that is turned away; `str()` is the reference's text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class LocalSigner:
    """Signs payments of a local network over plain HTTP.

    Args:
        chain: The same as the orchestrator's.
        host: Address to listen on; anything but loopback lets others spend its test money.
        port: 0 takes a free one.

    Example:
        ```python
        chain = LocalChain()
        async with LocalOrchestrator(chain=chain) as orchestrator, LocalSigner(chain) as signer:
            gw = Gateway(orch_url=orchestrator.url, signer_url=signer.url, tls="insecure")
        ```
    """

    def __init__(self, chain: LocalChain, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.payments: list[MadePayment] = []
        self.reused = 0
        """Times that a state came again: two payments of it carry the same tickets."""
        self._chain = chain
        self._host, self._port = host, port
        self._secret = secrets.token_bytes(32)
        self._used: dict[str, None] = {}
        self._stack: contextlib.AsyncExitStack | None = None
        self._url = ""

    def __repr__(self) -> str:
        return f"LocalSigner(url={self._url or 'not started'!r})"

    @property
    def url(self) -> str:
        """Where it listens; without a slash at the end."""
        if self._stack is None:
            raise RuntimeError("the signer has not been started: use `async with`")
        return self._url

    @property
    def spent(self) -> Fraction:
        """Wei of all payments that it made."""
        return sum((each.wei for each in self.payments), Fraction(0))

    async def __aenter__(self) -> LocalSigner:
        async with contextlib.AsyncExitStack() as stack:
            listening = socket.create_server((self._host, self._port))
            stack.callback(listening.close)
            app = listener.application()
            listener.handle(app, self._answer)
            await stack.enter_async_context(listener.serve(app, listening))
            host = f"[{self._host}]" if ":" in self._host else self._host
            self._url = f"http://{host}:{listening.getsockname()[1]}"
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        if path not in ("/sign-orchestrator-info", "/generate-live-payment"):
            return error(404, "404 page not found")
        if (refused := only(request, "POST")) is not None:
            return refused
        body = await read_small(request, MOST_BYTES)
        if body is None:
            return _json(400, {"error": {"message": "http: request body too large"}})
        if path == "/sign-orchestrator-info":
            key = self._chain.payer
            signature = key.sign(keccak256(key.name.encode()))
            return _json(200, {"address": key.name, "signature": "0x" + signature.hex()})
        try:
            return _json(200, await asyncio.to_thread(self._pay, body))
        except SignerRefusal as refusal:
            headers = {}
            if refusal.status == 480:
                headers["Livepeer-Orchestrator-Url"] = self._orchestrator(body)
            told = {"error": {"message": str(refusal)}}
            return _json(refusal.status, told, headers)

    @staticmethod
    def _orchestrator(body: bytes) -> str:
        with contextlib.suppress(ValueError, SignerRefusal):
            return str(_info(_asked(body)).get("transcoder", ""))
        return ""

    def _pay(self, body: bytes) -> Fields:
        """The answer to a request for a payment; raises `SignerRefusal`. In the reference's order
        of checks."""
        asked = _asked(body)
        info = _info(asked)
        price, params = _price(info), info.get("ticket_params")
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
        _capabilities(asked.get("capabilities") or "")
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
        payment, nonce = self._payment(info, params, price, due, state)
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
        while len(self._used) >= MOST_KEPT:
            self._used.pop(next(iter(self._used)))
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
            ceilings.append((_ceiling(ceiling, kind), "request maxPrice"))
        if state:
            ceilings.append((Fraction(state["Price"]), "initial session price"))
        for most, what in sorted(ceilings, key=lambda each: each[0]):
            if price > most:
                text = f"orchestrator price {float(price):.3f} exceeds {what} ceiling"
                raise SignerRefusal(481, f"{text} {float(most):.3f}")

    def _payment(
        self, info: Fields, params: Fields, price: Fraction, due: int, state: Fields
    ) -> tuple[bytes, int]:
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


def _asked(body: bytes) -> Fields:
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


def _info(asked: Fields) -> Fields:
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


def _capabilities(text: Any) -> None:
    """They are looked at, and have no use here."""
    try:
        messages.read({}, base64.b64decode(str(text), validate=True))
    except (ValueError, binascii.Error):
        raise SignerRefusal(400, messages.BAD) from None


def _price(info: Fields) -> Fraction:
    price = info.get("price_info", {})
    wei, units = price.get("pricePerUnit", 0), price.get("pixelsPerUnit", 0)
    if wei <= 0 or units <= 0:
        raise SignerRefusal(400, "missing or zero priceInfo")
    return Fraction(wei, units)


def _ceiling(asked: Any, kind: str) -> Fraction:
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


def _json(status: int, told: Fields, headers: dict[str, str] | None = None) -> web.Response:
    body = json.dumps(told, separators=(",", ":")).encode()
    return reply(status, body, {"Content-Type": "application/json", **(headers or {})})
