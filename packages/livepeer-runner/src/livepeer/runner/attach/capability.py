"""What an orchestrator is told about a capability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from livepeer.runner.redaction import without_userinfo
from livepeer.runner.settings import Secret


@dataclass(frozen=True, slots=True)
class Capability:
    """A capability as orchestrators list it.

    `url` is where orchestrators reach the service; None: guessed for each of them from the address
    that it is reached by, and the port that `Registration` is given. The price is
    `price_per_unit / price_scaling` in `currency` for a second of compute; 0 is free. Offchain
    orchestrators ignore prices, and crash on another currency than `wei` (go-livepeer: the
    connection is reset), so change it only for one that has a price feed.

    Raises `ValueError` for a value that go-livepeer would refuse, or take and never choose.
    """

    name: str
    url: str | None = None
    capacity: int = 1
    price_per_unit: int = 0
    price_scaling: int = 1
    currency: str = "wei"
    description: str = ""

    def __post_init__(self) -> None:
        if not self.name or self.name != self.name.strip() or not self.name.isprintable():
            raise ValueError(
                f"the capability's name is {self.name!r}: write a printable name without blanks "
                f"around it"
            )
        # go-livepeer: a JSON number with a fraction, 2.0 too, is refused with 400.
        for name, low in (("capacity", 1), ("price_per_unit", 0), ("price_scaling", 1)):
            value = getattr(self, name)
            if type(value) is not int or not low <= value < 2**63:
                raise ValueError(f"{name} is {value!r}: write a whole number from {low} on")
        if self.url is not None:
            parts = urlsplit(self.url)
            shown = without_userinfo(self.url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"url is {shown!r}: write one such as http://10.0.0.5:8000")
            if parts.query or parts.fragment:
                # go-livepeer appends `/predict` to the text as it is.
                raise ValueError(f"url is {shown!r}: it can have no query and no fragment")

    def body(self, *, url: str, token: Secret) -> dict[str, Any]:
        """The registration as `POST /capability/register` takes it."""
        return {
            "protocol": "v1",
            "name": self.name,
            "description": self.description,
            "url": url.rstrip("/"),  # else go-livepeer calls `//predict`
            "capacity": self.capacity,
            "price_per_unit": self.price_per_unit,
            "price_scaling": self.price_scaling,
            "currency": self.currency,
            "token": token.reveal(),
        }
