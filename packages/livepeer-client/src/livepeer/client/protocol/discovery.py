"""What an orchestrator's `GET /discovery` says of its live runners. No I/O.

Names and shapes are go-livepeer's (package `server`), as its recorded answers show them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, Literal, cast

from livepeer.client.protocol.wire import INT64, amount
from livepeer.client.types import RunnerInfo
from livepeer.client.untrusted import loads
from livepeer.trickle.text import printable

DISCOVERY_PATH: Final = "/discovery"
DISCOVERY_BYTES: Final = 1 << 20
"""Bytes of a discovery: as many as go-livepeer's own signer reads of one."""
RUNNERS: Final = 1_000
"""Runners that one orchestrator may list, and entries of its answer; the rest is not looked at."""
NAME_LENGTH: Final = 500
LINE_LENGTH: Final = 300
"""Letters of anything else that is shown of a runner: an image's name and digest are longest."""
METADATA_LENGTH: Final = 1_024
"""go-livepeer takes as many bytes."""
SDK: Final = "livepeer-runner/"

SINGLE_SHOT: Final = "single-shot"
PERSISTENT: Final = "persistent"
Mode = Literal["single-shot", "persistent"]

_SEGMENT = r"[A-Za-z0-9._~!$&'()*+,;=:@%-]{1,256}"
_PATH: Final = re.compile(rf"/(?:apps/{_SEGMENT}/(?:app|session)|run/{_SEGMENT})$")
_SESSION: Final = re.compile(rf"/apps/{_SEGMENT}/session/{_SEGMENT}$")
PAYMENT_PATH: Final = re.compile(rf"/apps/{_SEGMENT}/session/{_SEGMENT}/payment$")
_APP: Final = re.compile(rf"/(?:apps/{_SEGMENT}/session/{_SEGMENT}/app|run/{_SEGMENT})$")


@dataclass(frozen=True, slots=True)
class RunnerEntry:
    """One live runner, as its orchestrator lists it."""

    app: str
    mode: Mode
    path: str
    """Below the orchestrator's address: of its app, or where its sessions are reserved."""
    free: int
    price: Fraction = Fraction(0)
    """In wei per `unit`; 0 is free."""
    unit: str = ""
    told: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The entry itself."""

    @property
    def ours(self) -> bool:
        """Whether it is made with this SDK, by what it tells the public."""
        return str(self.metadata.get("sdk", "")).startswith(SDK)

    @property
    def info(self) -> RunnerInfo:
        """For people: texts of one line, numbers that are some."""
        metadata, gpu = self.metadata, self.told.get("gpu")
        card: Mapping[str, Any] = gpu if isinstance(gpu, Mapping) else {}
        vram = card.get("vram_mb")
        return RunnerInfo(
            self.mode,
            max(0, self.free),
            self.price,
            self.unit,
            gpu=_line(card.get("name")),
            vram_mb=vram if type(vram) is int and 0 < vram <= INT64 else None,
            version=_line(self.told.get("version")),
            image=_line(metadata.get("image")),
            schema_sha256=_line(metadata.get("schema_sha256")),
            sdk=_line(metadata.get("sdk")) if self.ours else None,
        )

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What it tells the public beside go-livepeer's own fields: JSON by convention."""
        text = self.told.get("metadata")
        if not isinstance(text, str) or len(text) > METADATA_LENGTH:
            return {}
        try:
            value = loads(text)
        except ValueError:
            return {}
        return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True, slots=True)
class ReservedPlace:
    """A reserved session. Its paths are credentials: whoever knows one speaks for the session."""

    app: str = field(repr=False)
    control: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class OpenApp:
    """An app that requests go to, at the orchestrator `place`."""

    place: str
    app: str
    mode: Mode
    entry: str
    """The path of its runner in the discovery."""
    path: str = field(repr=False)
    """What its own paths follow; in a session a credential."""
    reserved: ReservedPlace | None = field(default=None, repr=False)
    """The session, None where each request is one by itself."""
    runner: RunnerEntry | None = field(default=None, repr=False, compare=False)
    """What each request by itself is paid to."""


def runners_in(answer: Any) -> tuple[RunnerEntry, ...]:
    """The runners of a discovery; what is no such entry is left out."""
    found: list[RunnerEntry] = []
    for place in answer[:RUNNERS] if isinstance(answer, list) else ():
        listed = place.get("runners") if isinstance(place, Mapping) else None
        for each in listed[:RUNNERS] if isinstance(listed, list) else ():
            if len(found) >= RUNNERS:
                return tuple(found)
            entry = _entry(each) if isinstance(each, Mapping) else None
            if entry is not None:
                found.append(entry)
    return tuple(found)


def _line(value: Any) -> str | None:
    return printable(value[:LINE_LENGTH], LINE_LENGTH) or None if isinstance(value, str) else None


def _entry(told: Mapping[str, Any]) -> RunnerEntry | None:
    app, mode, free = told.get("app"), told.get("mode"), told.get("capacity_available", 0)
    if not isinstance(app, str) or not app.strip() or printable(app, NAME_LENGTH) != app:
        return None
    if mode not in (SINGLE_SHOT, PERSISTENT) or type(free) is not int or abs(free) > INT64:
        return None
    path = path_in(told.get("url"), _PATH)
    if path is None:
        return None
    price_info = told.get("price_info")
    price, unit = Fraction(0), ""
    if price_info is not None:
        # A price that cannot be read is not taken for none.
        try:
            price = amount(price_info.get("price"))
        except (ValueError, AttributeError):
            return None
        unit = printable(str(price_info.get("unit", ""))[:40], 40)
    return RunnerEntry(app, cast(Mode, mode), path, free, price, unit, told)


def place_in(answer: Any) -> ReservedPlace | None:
    """The session that an answer to a reservation names; None where it names none."""
    if not isinstance(answer, Mapping):
        return None
    app, control = (
        path_in(answer.get("app_url"), _APP),
        path_in(answer.get("control_url"), _SESSION),
    )
    return ReservedPlace(app, control) if app and control else None


def path_in(url: Any, form: re.Pattern[str]) -> str | None:
    """The path that `form` finds at the end of a URL.

    Only the path is taken from there: requests go to the address that was asked, so that no answer
    can send them elsewhere.
    """
    if not isinstance(url, str) or len(url) > 2_048:
        return None
    found = form.search(url)
    if found is None or any(part in (".", "..") for part in found[0].split("/")):
        return None
    return found[0]
