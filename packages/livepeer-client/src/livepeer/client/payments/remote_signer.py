"""A remote signer, which holds a key and makes payments with it (go-livepeer, `-remoteSigner`).

Paths, statuses and texts are go-livepeer's (`server/remote_signer.go`), as its recorded answers
show them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from livepeer.client.exceptions import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionFailedError,
    InsufficientBalanceError,
    LivepeerError,
    PaymentRequiredError,
    ProtocolError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.payments.signer import (
    Order,
    PriceRose,
    RefreshNeeded,
    SignedAddress,
    SignedPayment,
    error_text,
)
from livepeer.client.protocol.tickets import PAYMENT
from livepeer.client.protocol.wire import JobHeader, compact_json
from livepeer.client.untrusted import loads, redacted, secrets_in, shown_url
from livepeer.trickle.text import printable

logger = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 5.0
"""For one payment: the next one is due in three."""
_TEXT_LIMIT: Final = 1_000
"""Letters of an address or a signature, which has 132."""
_PAYMENT_LIMIT: Final = 1 << 16
"""Letters of a payment: one of 100 tickets has 11,000, and a header takes no more."""
_STATE_LIMIT: Final = 1 << 16
_SHOWN: Final = 300
"""Letters of the signer's own words in an error."""

_INFO: Final = "/sign-orchestrator-info"
_JOB: Final = "/sign-byoc-job"
_PAY: Final = "/generate-live-payment"

_UNITS: Final = {"live": "seconds", "lv2v": "720p-pixel-seconds", "fixed": "fixed"}
_NO_MONEY: Final = ("no sender reserve", "insufficient sender reserve", "max facevalue", "unlock")
"""What the signer says of an address whose deposit or reserve is not there, or about to go."""


class RemoteSigner:
    """Signs and pays through a remote signer.

    Tokens by `/sign-orchestrator-info`, payments by `/generate-live-payment`, jobs by
    `/sign-byoc-job`, which forks of go-livepeer alone have. Where it is missing, a free job goes
    out unsigned, which an offchain orchestrator accepts and an on-chain one refuses.
    """

    can_pay = True

    def __init__(self, url: str, headers: Mapping[str, str], trust: TlsPolicy) -> None:
        self._url, self._headers, self._trust = url, dict(headers), trust
        self._identity: SignedAddress | None = None
        self._signs_jobs = True

    def __repr__(self) -> str:
        return f"RemoteSigner({shown_url(self._url)})"

    async def identity(self, http: Http, deadline: Deadline) -> SignedAddress:
        if self._identity is None:
            status, answer = await self._ask(http, _INFO, {}, deadline)
            if status != 200:
                raise self._refused(_INFO, status, error_text(answer))
            # The address goes out with its exact casing: that text is what was signed.
            self._identity = SignedAddress(
                _text(answer, "address", _TEXT_LIMIT), _text(answer, "signature", _TEXT_LIMIT)
            )
        return self._identity

    async def sign(self, http: Http, job: JobHeader, deadline: Deadline, *, paid: bool) -> str:
        if self._signs_jobs:
            status, answer = await self._ask(
                http,
                _JOB,
                {
                    "id": job.id,
                    "capability": job.capability,
                    "request": job.request,
                    "parameters": job.parameters,
                    "timeout_seconds": job.timeout_seconds,
                },
                deadline,
            )
            if status == 200:
                return job.header(
                    sender=_text(answer, "sender", _TEXT_LIMIT),
                    signature=_text(answer, "signature", _TEXT_LIMIT),
                )
            if status not in (404, 405, 501):
                raise self._refused(_JOB, status, error_text(answer))
            if not paid:
                place = shown_url(self._url)
                logger.warning("%s has no /sign-byoc-job: jobs go out unsigned", place)
            self._signs_jobs = False
        if paid:
            raise ConfigurationError(
                f"{job.capability!r} has a price, and the signer {shown_url(self._url)} cannot sign"
                " BYOC jobs (go-livepeer's has no /sign-byoc-job). Three ways work: call it through"
                " a gateway_url that pays; sign with a key of your own (eth_key); or have it"
                " registered as a live runner, which this signer pays",
                capability=job.capability,
            )
        identity = await self.identity(http, deadline)
        return job.header(sender=identity.address)

    async def pay(
        self, http: Http, order: Order, state: Any, deadline: Deadline
    ) -> SignedPayment | None:
        body: dict[str, Any] = {"orchestrator": order.params, "app": order.app}
        if order.manifest_id:
            body["ManifestID"] = order.manifest_id
        if order.kind == "units":
            body["inPixels"] = order.units
        else:
            body["type"] = order.kind
            if order.max_price is not None:
                body["maxPrice"] = {
                    "price": decimal(order.max_price),
                    "currency": "wei",
                    "unit": _UNITS[order.kind],
                }
        if state is not None:
            body["state"] = state
        limit = Deadline(max(0.001, min(ANSWER_SECONDS, deadline.remaining())))
        status, answer = await self._ask(http, _PAY, body, limit)
        match status:
            case 200:
                signed = self._signed(answer)
                self._check_payer(signed)
                return signed
            case 480:
                raise RefreshNeeded
            case 481:
                raise PriceRose(self._told(error_text(answer), order.manifest_id))
            case 482:
                return None
        raise self._unpaid(status, error_text(answer), order)

    def _check_payer(self, signed: SignedPayment) -> None:
        """What is asked is bound to a payer, so a signer whose key has changed is asked anew."""
        try:
            payer = PAYMENT.decode_text(signed.payment).get("sender", b"").hex()
        except ValueError:
            return  # whoever asked for it says what it is
        known = self._identity
        if known is not None and payer != known.address.lower().removeprefix("0x"):
            self._identity = None
            raise PaymentRequiredError(
                f"the signer {shown_url(self._url)} pays from another address than its own of"
                " before: its payment is not sent (was its key changed? Then call again)"
            )

    def _signed(self, answer: Any) -> SignedPayment:
        state = answer.get("state") if isinstance(answer, dict) else None
        if not isinstance(state, dict) or not _is_small(state):
            raise ProtocolError(f"the payment of the signer {shown_url(self._url)} has no state")
        return SignedPayment(
            _text(answer, "payment", _PAYMENT_LIMIT),
            _text(answer, "segCreds", _PAYMENT_LIMIT),
            state,
        )

    def _unpaid(self, status: int, text: str, order: Order) -> LivepeerError:
        """Why it does not pay, as an error that says what to do."""
        told = self._told(text, order.manifest_id)
        named: dict[str, Any] = {"status": status, "capability": order.app}
        low = text.lower()
        if status in (402, 483) or any(each in low for each in _NO_MONEY):
            return InsufficientBalanceError(
                f"the signer {shown_url(self._url)} does not pay for {order.app!r}: {told}. Its"
                " balance (on chain: its deposit and reserve) has to be filled up",
                **named,
            )
        if status in (401, 403):
            return ConfigurationError(
                f"the signer {shown_url(self._url)} refused to pay: {status} {told} (are its"
                " headers right?)",
                **named,
            )
        if status in (404, 405):
            return ConfigurationError(
                f"{shown_url(self._url)} has no {_PAY}: is it a remote signer?", **named
            )
        if "numtickets" in low or "ticket ev" in low or "facevalue" in low:
            return PaymentRequiredError(
                f"{order.app!r} cannot be paid with the tickets that the orchestrator wants:"
                f" {told}. Its operator has to change -ticketEV (larger for a dear runner)",
                **named,
            )
        if status < 500:
            return PaymentRequiredError(
                f"the signer {shown_url(self._url)} refused to pay for {order.app!r}: {status}"
                f" {told}",
                **named,
            )
        return ProtocolError(
            f"the signer {shown_url(self._url)} failed: {status} {told} (it says no more, also"
            " where a payment is above its -maxTotalEV: its log does)",
            **named,
        )

    async def _ask(
        self, http: Http, path: str, body: dict[str, Any], deadline: Deadline
    ) -> tuple[int, Any]:
        """Its status, and its JSON: None where that is no good one."""
        try:
            reply = await http.fetch(
                "POST",
                self._url + path,
                ssl=self._trust.for_service(),
                deadline=deadline,
                headers={**self._headers, "Content-Type": "application/json"},
                body=compact_json(body).encode(),
                where={"orchestrator": shown_url(self._url)},
            )
        except ConnectionFailedError as error:
            raise type(error)(
                f"the remote signer cannot be asked: {error}", orchestrator=shown_url(self._url)
            ) from error
        except CallTimeoutError as error:
            raise CallTimeoutError(
                f"the remote signer {shown_url(self._url)} did not answer within"
                f" {deadline.seconds:g} s",
                phase=error.phase,
                orchestrator=shown_url(self._url),
            ) from error
        try:
            return reply.status, loads(reply.body)
        except ValueError as error:
            if reply.status != 200:
                return reply.status, None
            place = shown_url(self._url)
            raise ProtocolError(f"the signer {place}{path} did not answer with JSON") from error

    def _told(self, text: str, session: str = "") -> str:
        """Its own words, without its headers' secrets and the name of what is paid for."""
        hidden = redacted(text, secrets_in({**self._headers, "session": session}))
        return printable(hidden, _SHOWN) or "without a word"

    def _refused(self, path: str, status: int, text: str) -> LivepeerError:
        told = f"the signer refused {shown_url(self._url)}{path}: {status}"
        if text:
            told = f"{told} {self._told(text)}"
        if status in (401, 403):
            return ConfigurationError(f"{told} (are its headers right?)", status=status)
        return ProtocolError(told, status=status)


def decimal(price: Fraction) -> str:
    """A price as a decimal number, rounded down to 18 places: it is a ceiling."""
    whole, rest = divmod(price.numerator, price.denominator)
    places = str(rest * 10**18 // price.denominator).rjust(18, "0").rstrip("0")
    return f"{whole}.{places}" if places else str(whole)


def _is_small(state: dict[str, Any]) -> bool:
    """Can it be sent back as it came?"""
    try:
        return len(compact_json(state).encode()) <= _STATE_LIMIT
    except (ValueError, RecursionError):  # NaN, half a letter, too deep
        return False


def _text(answer: Any, key: str, limit: int) -> str:
    value = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(value, str) or not value or len(value) > limit:
        raise ProtocolError(f"the signer's answer has no {key!r}")
    if not value.isascii() or not value.isprintable():  # it goes into a header
        raise ProtocolError(f"the {key!r} of the signer's answer is no line of ASCII")
    return value
