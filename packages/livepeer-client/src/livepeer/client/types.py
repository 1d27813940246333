"""The values that calls take and give. No I/O, and nothing but the standard library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from livepeer.client.untrusted import loads

TlsMode = Literal["verify", "pin", "insecure"]
SECONDS = "seconds"
"""The unit of most prices."""
Phase = Literal["discovery", "token", "payment", "connect", "request", "response"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one attempt did not give the result.

    `phase` is how far it came. Up to `connect` (`discovery`, `token`, `payment`) nothing was sent
    to the pipeline; at `request` the job was sent and nothing came back; at `response` there was an
    answer. `status` is its HTTP status, None without an answer.
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
    """One field of the input that was refused: its path (`a.b.0`) and what is wrong with it."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One server-sent event, with the names of the HTML standard.

    `data` is its text, which `json()` parses. `event` is its name: `"message"` for the values of a
    pipeline, `"progress"` for `{"progress": 0.5, "message": "..."}` (a fraction of 1), any other
    name is the pipeline's own. `id` is the last one sent, `retry` is in milliseconds.
    """

    data: str
    event: str = "message"
    id: str = ""
    retry: int | None = None

    def json(self) -> Any:
        """`data` parsed as JSON. Raises `ValueError` if it is not JSON.

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
class RunnerInfo:
    """One live runner, as its orchestrator lists it.

    `capacity` is how many more sessions (or requests, of a single-shot one) it would take now.
    `price` is in wei per `unit` (`seconds`, `720p-pixel-seconds`, `fixed`), 0 is free. `gpu` and
    `vram_mb` (MB) are of its graphics card. `image`, `schema_sha256` and `sdk` are what it says of
    itself: the digest of its image, that of its schema document, and the SDK that it is made with.
    Nobody has verified these (`specs/identity.md`). What is not told is None.
    """

    mode: Literal["single-shot", "persistent"]
    capacity: int
    price: Fraction = Fraction(0)
    unit: str = ""
    gpu: str | None = None
    vram_mb: int | None = None
    version: str | None = None
    image: str | None = None
    schema_sha256: str | None = None
    sdk: str | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """What an orchestrator offers for a capability.

    `capacity` is how many more jobs it would take; 0 means that it is full or does not know the
    capability, which go-livepeer does not tell apart. `price` is in wei per `unit`, 0 is free; the
    unit is `seconds` (of compute), or of live runners also `720p-pixel-seconds` or `fixed` (one
    request). `latency` is how long the answer took, in seconds. `token` is the answer itself
    (go-livepeer's `GET /process/token`). `mode` is that of live runners, None for a BYOC
    capability; their `token` is `{"runners": [...]}`, their entries in `GET /discovery`, and
    `runners` what these say, one by one.
    """

    orchestrator: str
    capability: str
    capacity: int
    price: Fraction = Fraction(0)
    latency: float = 0.0
    token: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    mode: Literal["single-shot", "persistent"] | None = None
    runners: tuple[RunnerInfo, ...] = ()
    unit: str = SECONDS

    @property
    def free(self) -> bool:
        """Whether it costs nothing."""
        return not self.price


@dataclass(frozen=True, slots=True)
class CapabilityInfo:
    """One capability, as `Gateway.capabilities` found it: the offers of those orchestrators that
    answered, and why the others did not."""

    name: str
    offers: tuple[Offer, ...] = ()
    rejections: tuple[Rejection, ...] = ()

    @property
    def available(self) -> bool:
        """Whether any orchestrator had room for a job."""
        return any(offer.capacity > 0 for offer in self.offers)

    @property
    def capacity(self) -> int:
        """Free places of all orchestrators together."""
        return sum(max(offer.capacity, 0) for offer in self.offers)

    @property
    def price(self) -> Fraction | None:
        """The lowest price among those with room, in wei per unit; None if nobody has room."""
        return min((offer.price for offer in self.offers if offer.capacity > 0), default=None)
