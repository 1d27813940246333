"""The registry: which capabilities there are, and how many jobs each is counted to run."""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from livepeer.runner.devnet import go_json
from livepeer.trickle.text import printable

logger = logging.getLogger(__name__)

_SHOWN = 64
_NAMED, _LINE = 20, 200
"""Capabilities that a line of the log names, and its letters for them."""
_TELL_EVERY = 5.0
"""The same refusal is logged again after so long (seconds): callers ask again and again."""
_FIELDS = {
    "name": "string",
    "description": "string",
    "url": "string",
    "capacity": "int",
    "price_per_unit": "int64",
    "price_scaling": "int64",
    "currency": "string",
    "token": "string",
    # Not meant to be read from JSON, but the reference does: it is an exported field.
    "Load": "int",
}


class PriceFeedMissing(Exception):
    """A currency without a price feed: the reference ends the connection without an answer."""


@dataclass
class CapabilityRecord:
    """One registration. `load` may leak upwards and, after a renewal, go below 0."""

    name: str = ""
    description: str = ""
    url: str = ""
    capacity: int = 0
    price_per_unit: int = 0
    price_scaling: int = 1
    currency: str = ""
    token: str = field(default="", repr=False)
    load: int = 0


class Capabilities:
    """Registrations in memory, with the counting of the reference: no limit, no memory of jobs.

    A registration replaces the record whole, its load included; places are given back by name,
    whatever record has that name by then (go-livepeer: `core/external_capabilities.go`).

    - `price_feed`: whether prices may be in USD, as on a chain.
    """

    def __init__(self, *, price_feed: bool = False) -> None:
        self._currencies = frozenset(("", "wei", *(("usd",) if price_feed else ())))
        self._by_name: dict[str, CapabilityRecord] = {}
        self._priced: dict[str, CapabilityRecord] = {}
        self._told, self._told_at = "", 0.0

    def __iter__(self) -> Iterator[CapabilityRecord]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> CapabilityRecord | None:
        return self._by_name.get(name)

    def register(self, body: bytes) -> CapabilityRecord:
        """Takes a registration's JSON; raises `GoJSONError`, or `PriceFeedMissing`."""
        values = go_json.decode(go_json.parse(body), _FIELDS, "ExternalCapability", "core")
        load = values.pop("Load", 0)
        values["price_scaling"] = values.get("price_scaling") or 1
        capability = CapabilityRecord(**values, load=load)
        if capability.currency.lower() not in self._currencies:
            raise PriceFeedMissing(capability.currency)
        self._by_name[capability.name] = self._priced[capability.name] = capability
        return capability

    def remove(self, name: str) -> None:
        self._by_name.pop(name, None)

    def priced(self, name: str) -> CapabilityRecord | None:
        """The newest registration, though it may be gone: the reference keeps its price."""
        return self._priced.get(name)

    def url(self, name: str) -> str:
        """Where the container is; empty for a capability that is not known."""
        capability = self._by_name.get(name)
        return "" if capability is None else capability.url

    def token(self, name: str) -> str:
        capability = self._by_name.get(name)
        return "" if capability is None else capability.token

    def available(self, name: str) -> int:
        """Places that a token shows; 0 for a capability that is not known."""
        capability = self._by_name.get(name)
        return 0 if capability is None else max(0, capability.capacity - capability.load)

    def tell_why_none(self, name: str) -> None:
        """Logs why a capability has no free place. Callers are told the same whether it is full or
        unknown, as in the reference; the log says which."""
        capability = self._by_name.get(name)
        shown = ascii(name[:_SHOWN])
        if capability is None:
            known = sorted(self._by_name)
            near = difflib.get_close_matches(name[:_SHOWN], known, n=1)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else f"there is {printable(', '.join(known[:_NAMED]), _LINE)}"
            )
            why = f"{shown} is not registered here: {hint if known else 'nothing is'}"
        else:
            why = (
                f"{shown} is registered and full: {capability.load} jobs of "
                f"{capability.capacity} places"
            )
        now = time.monotonic()
        if why != self._told or now - self._told_at > _TELL_EVERY:
            self._told, self._told_at = why, now
            logger.warning("%s", why)

    def reserve(self, name: str) -> bool:
        """Counts one job more, over capacity too; False only where the capability is unknown."""
        capability = self._by_name.get(name)
        if capability is None:
            return False
        capability.load += 1
        return True

    def free(self, name: str) -> None:
        capability = self._by_name.get(name)
        if capability is not None:
            capability.load -= 1
