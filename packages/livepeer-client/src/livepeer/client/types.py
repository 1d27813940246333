"""The values that calls take and give. No I/O, and nothing but the standard library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from livepeer.client.untrusted import loads

TlsMode = Literal["verify", "pin", "insecure"]
Phase = Literal["discovery", "token", "payment", "connect", "request", "response"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one attempt did not give the result.

    `phase` says how far it came: up to `connect` nothing was sent to the pipeline; at `request` the
    job was sent and nothing came back; at `response` an answer came. `status` is the HTTP status,
    where there was one.
    """

    orchestrator: str
    reason: str
    phase: Phase
    status: int | None = None

    def __str__(self) -> str:
        status = f" {self.status}" if self.status is not None else ""
        return f"{self.orchestrator} [{self.phase}{status}] {self.reason}"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that a pipeline (or its schema) refused: where, and what is wrong with it."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One server-sent event, with the names of the HTML standard.

    `data` is its text, which `json()` parses. `event` is its name: `"message"` where it has none,
    as the values of a pipeline have; `"progress"` tells how far the job is, as
    `{"progress": 0.5, "message": "..."}`; any other name is the pipeline's own. `id` is the last
    one that was told, `retry` is in milliseconds.
    """

    data: str
    event: str = "message"
    id: str = ""
    retry: int | None = None

    def json(self) -> Any:
        """`data` parsed as JSON. Raises `ValueError` where it is none.

        A payload over the 65,535 bytes that go-livepeer reads as one line comes folded over
        several, perhaps in the middle of a text; compact JSON holds no line end that could be
        lost when they are joined again.
        """
        try:
            return loads(self.data)
        except ValueError:
            if "\n" not in self.data:
                raise
            return loads(self.data.replace("\n", ""))


@dataclass(frozen=True, slots=True)
class Offer:
    """What an orchestrator answers when asked for a capability.

    `capacity` is how many more jobs it says it would take (0: full, or the capability is unknown to
    it; go-livepeer does not tell which). `price` is in wei per unit, for a BYOC capability per
    second of compute; 0 is free. `latency` is the seconds that the answer took.
    """

    orchestrator: str
    capability: str
    capacity: int
    price: Fraction = Fraction(0)
    latency: float = 0.0
    token: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def free(self) -> bool:
        return self.price == 0


@dataclass(frozen=True, slots=True)
class CapabilityInfo:
    """One capability as the orchestrators that were asked know it (see `Gateway.capabilities`)."""

    name: str
    offers: tuple[Offer, ...] = ()
    rejections: tuple[Rejection, ...] = ()

    @property
    def available(self) -> bool:
        """Does any orchestrator have room for a job right now?"""
        return any(offer.capacity > 0 for offer in self.offers)

    @property
    def capacity(self) -> int:
        return sum(max(offer.capacity, 0) for offer in self.offers)

    @property
    def price(self) -> Fraction | None:
        """The lowest price among those with room, wei per second; None where there is none."""
        return min((offer.price for offer in self.offers if offer.capacity > 0), default=None)
