"""Who is asked to do a job, and who is asked next: decisions apart from any I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from livepeer.client.exceptions import (
    CallTimeoutError,
    CertificateChangedError,
    CertificateError,
    ConnectionFailedError,
    LivepeerError,
    NoCapacityError,
    NoOrchestratorError,
    PaymentRequiredError,
    is_paid,
    reword,
)
from livepeer.client.types import CapabilityInfo, Offer, Phase, Rejection
from livepeer.client.untrusted import TEXT
from livepeer.trickle.text import printable

FAILURE_HALF_LIFE = 30.0
"""How long a failure weighs against an orchestrator, in seconds: its weight halves in this time."""
LATENCY_STEP = 0.05
"""Two latencies count as equal within this many seconds, so that noise does not outweigh
capacity."""
LISTED = 10
"""Attempts that a message names; `rejections` has them all."""
REMEMBERED = 1_000
"""Orchestrators whose failures are remembered."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One orchestrator that did not give the result, and the error that says why."""

    error: LivepeerError
    phase: Phase

    @property
    def rejection(self) -> Rejection:
        error = self.error
        return Rejection(error.orchestrator or "?", error.message, self.phase, error.status)


def told_offer(infos: Iterable[CapabilityInfo]) -> str:
    """The price of the cheapest offer with room, for people; empty where that is free, or none."""
    found = [
        (offer.price, offer.unit) for info in infos for offer in info.offers if offer.capacity > 0
    ]
    return told_price(*min(found)) if found and min(found)[0] else ""


def told_price(price: Fraction, unit: str) -> str:
    """A price for people: `5 wei per second`."""
    per = {"720p-pixel-seconds": "720p pixel-second", "fixed": "request"}
    return f"{float(price):g} wei per {per.get(unit, unit.removesuffix('s') or 'unit')}"


def rank(
    offers: Iterable[Offer],
    *,
    max_price: Fraction | None = None,
    can_pay: bool = False,
    failures: Mapping[str, float] | None = None,
) -> tuple[list[Offer], list[Attempt]]:
    """The offers that fit, best first, and why the others do not.

    Those without recent failures come first, then the cheaper, the nearer, and the emptier.
    """
    weights = failures or {}
    fit: list[Offer] = []
    others: list[Attempt] = []
    for offer in offers:
        attempt = unfit(offer, max_price=max_price, can_pay=can_pay)
        if attempt:
            others.append(attempt)
        else:
            fit.append(offer)
    if len(fit) < 2:
        return fit, others

    def order(offer: Offer) -> tuple[int, Fraction, int, int, float]:
        return (
            round(weights.get(offer.orchestrator, 0.0)),
            offer.price,
            int(offer.latency / LATENCY_STEP),
            -offer.capacity,
            offer.latency,
        )

    return sorted(fit, key=order), others


def unfit(offer: Offer, *, max_price: Fraction | None, can_pay: bool) -> Attempt | None:
    """Why this offer is out of the question, or None."""
    where: dict[str, Any] = {
        "capability": offer.capability,
        "orchestrator": offer.orchestrator,
    }
    if offer.capacity <= 0:
        return Attempt(
            NoCapacityError(
                f"no free place for {offer.capability!r}, or nothing of that name is registered"
                " there (go-livepeer does not tell which)",
                **where,
            ),
            "token",
        )
    affordable = max_price is None or offer.price <= max_price
    if affordable and (offer.free or can_pay):
        return None
    asks = f"{offer.capability!r} costs {told_price(offer.price, offer.unit)}"
    if not affordable:
        assert max_price is not None
        told = f"{asks}, which is more than max_price {float(max_price):g}"
        return Attempt(NoOrchestratorError(told, **where), "token")
    return Attempt(
        PaymentRequiredError(
            f"{asks}, and this gateway has no means to pay: set signer_url (--signer) or eth_key,"
            " call through a gateway_url that pays, or choose a free capability",
            **where,
        ),
        "payment",
    )


def may_try_next(error: LivepeerError, *, idempotent: bool) -> bool:
    """May the same job go to another orchestrator after this error?

    Only where it has certainly not run, or where the caller said that running twice does no harm;
    and never once a byte of an answer came. What the caller did wrong is wrong everywhere.
    """
    if is_paid(error):
        return False
    match error:
        case CallTimeoutError():
            return False  # the deadline is the call's, not the try's
        case NoCapacityError() | PaymentRequiredError():
            return not error.may_have_run
        case ConnectionFailedError():
            return not error.may_have_run or idempotent
        case _:
            return idempotent and (error.status or 0) >= 500


def gather(capability: str, attempts: Sequence[Attempt]) -> LivepeerError:
    """The one error that says best why nobody gave a result."""
    rejections = tuple(attempt.rejection for attempt in attempts)
    if not attempts:
        return NoOrchestratorError(f"nobody to ask for {capability!r}", capability=capability)
    last = attempts[-1]
    if len(attempts) == 1 or last.phase in ("request", "response"):
        # Where a job went out, its own error is the news; the ones before it are in the list.
        last.error.rejections = rejections
        last.error.capability = last.error.capability or capability
        return located(last.error)
    listing = "; ".join(str(rejection) for rejection in rejections[:LISTED])
    if len(rejections) > LISTED:
        listing += f"; and {len(rejections) - LISTED} more"
    told = f"none of {len(attempts)} orchestrators took {capability!r}: {listing}"
    errors = [attempt.error for attempt in attempts]
    waits = [error.retry_after for error in errors if isinstance(error, NoCapacityError)]
    if waits:
        known = [seconds for seconds in waits if seconds is not None]
        return NoCapacityError(
            told,
            retry_after=min(known, default=None),
            capability=capability,
            rejections=rejections,
        )
    kinds: tuple[type[LivepeerError], ...] = (
        PaymentRequiredError,
        CertificateChangedError,
        CertificateError,
        CallTimeoutError,
        ConnectionFailedError,
    )
    for kind in kinds:
        if all(isinstance(error, kind) for error in errors):
            return kind(told, capability=capability, rejections=rejections)
    return NoOrchestratorError(told, capability=capability, rejections=rejections)


def located(error: LivepeerError) -> LivepeerError:
    """`error`, whose message says where it happened if it did not yet."""
    place = printable(error.orchestrator or "", TEXT).partition("://")[2]
    if place and place not in error.message:
        reword(error, f"{error.message} (at {error.orchestrator})")
    return error


@dataclass(slots=True)
class _FadingWeight:
    weight: float
    at: float


class FailureMemory:
    """Past failures by orchestrator, fading with time. Single dict operations: thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[str, _FadingWeight] = {}

    def failed(self, orchestrator: str) -> None:
        if orchestrator not in self._records and len(self._records) >= REMEMBERED:
            self._records.pop(next(iter(self._records)), None)
        self._records[orchestrator] = _FadingWeight(self._weight(orchestrator) + 1.0, self._clock())

    def succeeded(self, orchestrator: str) -> None:
        self._records.pop(orchestrator, None)

    def weights(self) -> dict[str, float]:
        return {name: self._weight(name) for name in list(self._records)}

    def _weight(self, orchestrator: str) -> float:
        record = self._records.get(orchestrator)
        if record is None:
            return 0.0
        age: float = self._clock() - record.at
        return float(record.weight * 0.5 ** (age / FAILURE_HALF_LIFE))
