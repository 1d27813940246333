"""The seam of payments: who signs for an address, and makes a payment for what is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, Literal, Protocol

from livepeer.client.exceptions import PaymentRequiredError
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.protocol.wire import PAYMENT, SEGMENT, JobHeader

NOBODY: Final = "0x0000000000000000000000000000000000000000"

PaymentKind = Literal["live", "lv2v", "fixed", "units"]
"""What is paid for: seconds of a session, its 720p pixel-seconds, one request; or so many units."""


@dataclass(frozen=True, slots=True)
class SignedAddress:
    """An Ethereum address and its signature of itself, both in hex: what a request for an offer
    carries."""

    address: str
    signature: str


@dataclass(frozen=True, slots=True)
class Order:
    """One payment to be made: what the orchestrator asks, and for what.

    `params` is its `net.OrchestratorInfo` in base64, unchanged. `units` is the amount to pay for
    where `kind` is `units`; for the other kinds the signer works it out. `max_price` is in wei for
    each unit.
    """

    params: str = field(repr=False)
    kind: PaymentKind
    app: str
    manifest_id: str = field(default="", repr=False)
    units: int = 0
    max_price: Fraction | None = None


@dataclass(frozen=True, slots=True)
class SignedPayment:
    """A payment that is ready to be sent: `payment` is a `net.Payment` and `segment` a
    `net.SegData`, both in base64.

    `state` is given back to the signer for the next payment of the same session; only the signer
    understands it. A state is used once: two payments made from one would carry the same tickets.
    """

    payment: str = field(repr=False)
    segment: str = field(repr=False)
    state: Any = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """As they go out with a request."""
        return {PAYMENT: self.payment, SEGMENT: self.segment}


class RefreshNeeded(Exception):
    """The offer is too old to be paid: ask the orchestrator for a new one."""


class PriceRose(Exception):
    """The price is above a ceiling: that of the order, of the signer, or of the session's first
    payment. `str()` says which."""


class Signer(Protocol):
    """Signs for one Ethereum address, and pays if it can. Safe across threads and event loops."""

    can_pay: bool
    """Can `pay` answer?"""

    async def identity(self, http: Http, deadline: Deadline) -> SignedAddress:
        """The address that it signs for."""
        ...

    async def sign(self, http: Http, job: JobHeader, deadline: Deadline, *, paid: bool) -> str:
        """The value of the job's `Livepeer` header. If the job is `paid`, a signer that cannot sign
        it raises; a free job may go out unsigned."""
        ...

    async def pay(
        self, http: Http, order: Order, state: Any, deadline: Deadline
    ) -> SignedPayment | None:
        """A payment for what is due now; None if nothing is due.

        `state` is that of the payment before in the same session, None for the first one. Only one
        payment is made from a state at a time. Raises `RefreshNeeded`, `PriceRose`, or a
        `LivepeerError`; a `PaymentRequiredError` means that asking again will not help.
        """
        ...


class Unsigned:
    """The signer of a gateway without a key: offchain orchestrators accept an empty signature of
    any address. It cannot pay."""

    can_pay = False

    async def identity(self, http: Http, deadline: Deadline) -> SignedAddress:
        return SignedAddress(NOBODY, "")

    async def sign(self, http: Http, job: JobHeader, deadline: Deadline, *, paid: bool) -> str:
        return job.header(sender=NOBODY)

    async def pay(
        self, http: Http, order: Order, state: Any, deadline: Deadline
    ) -> SignedPayment | None:
        raise PaymentRequiredError(
            f"{order.app!r} has a price: set signer_url, or call through a gateway_url that pays"
        )


def error_text(body: Mapping[str, Any] | Any) -> str:
    """The message of a go-livepeer error, `{"error": {"message": ...}}`; empty if there is none."""
    error = body.get("error") if isinstance(body, Mapping) else None
    text = error.get("message") if isinstance(error, Mapping) else error
    return text if isinstance(text, str) else ""
