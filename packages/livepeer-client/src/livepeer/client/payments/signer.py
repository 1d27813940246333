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
    """An address, and its signature over itself: what a token request carries."""

    address: str
    signature: str


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be paid: what the orchestrator asks, as it came, and for what.

    `params` is its `net.OrchestratorInfo` in base64. `units` are those of the kind `units`; the
    other kinds know by themselves what is due. `max_price` is in wei for each unit.
    """

    params: str = field(repr=False)
    kind: PaymentKind
    app: str
    manifest_id: str = field(default="", repr=False)
    units: int = 0
    max_price: Fraction | None = None


@dataclass(frozen=True, slots=True)
class SignedPayment:
    """A payment that can be sent: `payment` is a `net.Payment`, `segment` a `net.SegData`, both in
    base64.

    `state` is what its maker has to be given for the next payment of the same session, and nobody
    else understands. A state is used once: two payments by one would carry the same tickets.
    """

    payment: str = field(repr=False)
    segment: str = field(repr=False)
    state: Any = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """As they go out with a request."""
        return {PAYMENT: self.payment, SEGMENT: self.segment}


class RefreshNeeded(Exception):
    """What the orchestrator asked is too old to be paid: it has to be asked anew."""


class PriceRose(Exception):
    """The price is above a ceiling: that of the order, of the signer, or of the session's first
    payment. `str()` says which."""


class Signer(Protocol):
    """Signs for an address, and pays where it can. Safe across threads and event loops."""

    can_pay: bool
    """Can `pay` answer?"""

    async def identity(self, http: Http, deadline: Deadline) -> SignedAddress:
        """Whom it signs for."""
        ...

    async def sign(self, http: Http, job: JobHeader, deadline: Deadline, *, paid: bool) -> str:
        """The value of the job's `Livepeer` header. A `paid` one goes out signed or not at all."""
        ...

    async def pay(
        self, http: Http, order: Order, state: Any, deadline: Deadline
    ) -> SignedPayment | None:
        """A payment for what is due now; None where nothing is.

        `state`: that of the session's payment before; None for its first. One request for a state
        at a time. Raises `RefreshNeeded`, `PriceRose`, or a `LivepeerError`; a
        `PaymentRequiredError` says that asking again will not help.
        """
        ...


class Unsigned:
    """Offchain: an orchestrator takes an empty signature of any address."""

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
    """What go-livepeer's JSON errors say: `{"error": {"message"}}`."""
    error = body.get("error") if isinstance(body, Mapping) else None
    text = error.get("message") if isinstance(error, Mapping) else error
    return text if isinstance(text, str) else ""
