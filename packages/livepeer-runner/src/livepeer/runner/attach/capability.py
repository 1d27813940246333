"""What an orchestrator is told about a capability."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from livepeer.runner.redaction import without_userinfo
from livepeer.runner.settings import Secret

_MODES = ("single-shot", "persistent")
_PRICE_UNITS = ("hour", "720p", "fixed")


@dataclass(frozen=True, slots=True)
class Capability:
    """A capability as orchestrators list it.

    `url` is where orchestrators reach the service; None: guessed for each of them from the address
    that it is reached by, and the port that `Registration` is given. The price is
    `price_per_unit / price_scaling` in `currency` for a second of compute; 0 is free. Offchain
    orchestrators ignore prices, and crash on another currency than `wei` (go-livepeer: the
    connection is reset), so change it only for one that has a price feed.

    The rest is for live-runner registries. `app` is what callers ask for, as `org/name`; by default
    the name. A `persistent` app is called in sessions, a `single-shot` one request by request.
    `price_usd` is for each `price_unit`: an hour of a session, a 720p pixel-second, or a request
    (`fixed`); on a chain it has to be above 0.

    Raises `ValueError` for a value that go-livepeer would refuse, or take and never choose.
    """

    name: str
    url: str | None = None
    capacity: int = 1
    price_per_unit: int = 0
    price_scaling: int = 1
    currency: str = "wei"
    description: str = ""
    app: str | None = None
    mode: Literal["single-shot", "persistent"] = "single-shot"
    app_version: str = ""
    price_usd: float = 0.0
    price_unit: Literal["hour", "720p", "fixed"] = "hour"

    def __post_init__(self) -> None:
        for what, name in (("capability's name", self.name), ("app", self.app)):
            if name is not None and (not name or name != name.strip() or not name.isprintable()):
                raise ValueError(
                    f"the {what} is {name!r}: write a printable name without blanks around it"
                )
        for field, value in (("mode", self.mode), ("price_unit", self.price_unit)):
            known = _MODES if field == "mode" else _PRICE_UNITS
            if value not in known:
                raise ValueError(f"{field} is {value!r}: write {' or '.join(known)}")
        if not 0 <= self.price_usd < math.inf:
            raise ValueError(f"price_usd is {self.price_usd!r}: write 0 or more")
        # go-livepeer: a JSON number with a fraction, 2.0 too, is refused with 400.
        for field, low in (("capacity", 1), ("price_per_unit", 0), ("price_scaling", 1)):
            number = getattr(self, field)
            if type(number) is not int or not low <= number < 2**63:
                raise ValueError(f"{field} is {number!r}: write a whole number from {low} on")
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
