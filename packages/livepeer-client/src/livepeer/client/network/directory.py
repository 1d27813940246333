"""Which orchestrators there are: given, listed by a discovery service, or by a signer."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from livepeer.client.config import SIGNER, Config, OrchestratorSource, url
from livepeer.client.exceptions import (
    CallTimeoutError,
    ConfigurationError,
    LivepeerError,
    NoOrchestratorError,
    ProtocolError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.network.selection import Attempt
from livepeer.client.untrusted import loads, shown_url
from livepeer.trickle.text import printable

logger = logging.getLogger(__name__)

ANSWER_LIMIT: Final = 5.0
LISTING_SECONDS: Final = 60.0
ORCHESTRATORS: Final = 1_000
"""What one listing may name, and what one entry of it may; the rest is not looked at."""
NAMES: Final = 1_000
NAME_LENGTH: Final = 500
LISTINGS: Final = 256
"""Listings that are kept, one for each capability that was asked for."""


class Directory:
    """The sources of a gateway, in their order. Plain dicts with single operations: thread-safe."""

    def __init__(self, config: Config, trust: TlsPolicy) -> None:
        self._config, self._trust = config, trust
        self._listings: dict[tuple[str, str], tuple[tuple[str, ...], float]] = {}

    async def orchestrators(
        self, http: Http, capability: str, model: str | None, deadline: Deadline
    ) -> tuple[str, ...]:
        """Those of the first source that knows any. Raises where none does."""
        self._check(capability)
        attempts: list[Attempt] = []
        for source in self._config.sources:
            if source.orchestrators:
                return source.orchestrators
            try:
                found = await self._listed(http, source, capability, model, deadline)
            except CallTimeoutError:
                raise
            except LivepeerError as error:
                attempts.append(Attempt(error, "discovery"))
                continue
            if found:
                return found
            told = f"{source.name} names no orchestrator for {capability!r}"
            attempts.append(
                Attempt(
                    NoOrchestratorError(told, orchestrator=shown_url(source.service or "")),
                    "discovery",
                )
            )
        told = "; ".join(attempt.error.message for attempt in attempts)
        raise NoOrchestratorError(
            f"no orchestrator found for {capability!r}: {told}. If you know one, pass orch_url",
            capability=capability,
            rejections=[attempt.rejection for attempt in attempts],
        )

    async def listed(self, http: Http, deadline: Deadline) -> dict[str, set[str]]:
        """All capabilities that discovery knows, each with its orchestrators."""
        self._check()
        found: dict[str, set[str]] = {}
        for source in self._config.sources:
            if source.service is None:
                continue
            for entry in await self._ask_service(http, source, None, deadline):
                if (address := _address(entry)) is None:
                    continue
                for name in capabilities_of(entry):
                    if name in found or len(found) < NAMES:
                        found.setdefault(name, set()).add(address)
        return found

    def _check(self, capability: str = "") -> None:
        if capability.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"{shown_url(capability)} is an address, and what is called is a name, by way of an"
                " orchestrator (orch_url, --orch). A container itself is asked by any HTTP client:"
                " POST /predict; `livepeer dev` has an orchestrator and prints the lines to call it"
            )
        if self._config.gateway:
            raise ConfigurationError(
                "a gateway tells nobody which orchestrators it knows, nor their prices and free"
                " places: ask orchestrators for them (orch_url or discovery_url)"
            )
        if not self._config.sources:
            raise ConfigurationError(
                "no orchestrator and no gateway: pass orch_url, gateway_url, discovery_url or token"
                " to Gateway() (--orch, --gateway, --discovery, --token), or set LIVEPEER_ORCH_URL;"
                " `livepeer dev` runs an orchestrator here"
            )

    async def _listed(
        self,
        http: Http,
        source: OrchestratorSource,
        capability: str,
        model: str | None,
        deadline: Deadline,
    ) -> tuple[str, ...]:
        wanted = f"{capability}/{model}" if model else capability
        key = (source.service or "", wanted)
        known = self._listings.get(key)
        if known and known[1] > time.monotonic():
            return known[0]
        entries = await self._ask_service(http, source, wanted, deadline)
        if not entries:
            # go-livepeer lists BYOC capabilities nowhere: their tokens will tell.
            entries = [
                entry
                for entry in await self._ask_service(http, source, None, deadline)
                if may_offer(entry, capability, model)
            ]
        found = tuple(dict.fromkeys(filter(None, map(_address, entries))))
        if found:
            while len(self._listings) >= LISTINGS:
                self._listings.pop(next(iter(self._listings)), None)
            self._listings[key] = (found, time.monotonic() + LISTING_SECONDS)
        return found

    async def _ask_service(
        self, http: Http, source: OrchestratorSource, wanted: str | None, deadline: Deadline
    ) -> list[Any]:
        service = source.service or ""
        place = f"{source.name} ({shown_url(service)})"
        target = service if source.name != SIGNER else f"{service}/discover-orchestrators"
        if wanted is not None:
            target += ("&" if "?" in target else "?") + f"caps={quote(wanted, safe='/')}"
        reply = await http.fetch(
            "GET",
            target,
            ssl=self._trust.for_service(),
            deadline=Deadline(max(0.001, min(ANSWER_LIMIT, deadline.remaining()))),
            headers=source.headers,
            where={"orchestrator": shown_url(service)},
        )
        if reply.status == 503:
            raise NoOrchestratorError(
                f"{place} knows nobody yet: try again in a moment",
                orchestrator=shown_url(service),
                status=503,
            )
        if reply.status != 200:
            raise NoOrchestratorError(
                f"{place} answered {reply.status}",
                orchestrator=shown_url(service),
                status=reply.status,
            )
        try:
            answer = loads(reply.body)
        except ValueError as error:
            raise ProtocolError(
                f"{place} did not answer with JSON", orchestrator=shown_url(service)
            ) from error
        if isinstance(answer, dict):
            answer = answer.get("orchestrators", [])
        if not isinstance(answer, list):
            return []
        if len(answer) > ORCHESTRATORS:
            logger.warning(
                "%s lists %d orchestrators: the first %d are asked",
                place,
                len(answer),
                ORCHESTRATORS,
            )
        return answer[:ORCHESTRATORS]


def _address(entry: Any) -> str | None:
    """The orchestrator's address in one entry of a listing; what is none is left out."""
    text = entry.get("address") if isinstance(entry, Mapping) else entry
    if not isinstance(text, str):
        return None
    try:
        return url("an orchestrator's address", text if "://" in text else f"https://{text}")
    except ConfigurationError:
        logger.debug("discovery names something that is no address: %s", shown_url(text))
        return None


def capabilities_of(entry: Any) -> list[str]:
    """Names that an entry of a listing speaks of: its capabilities, and the apps of its runners."""
    if not isinstance(entry, Mapping):
        return []
    apps = [each.get("app") for each in _list(entry, "runners") if isinstance(each, Mapping)]
    # A name that no call could use is none.
    return [
        name
        for name in (*_list(entry, "capabilities"), *apps)
        if isinstance(name, str) and name.strip() and printable(name, NAME_LENGTH) == name
    ]


def _list(entry: Mapping[str, Any], key: str) -> list[Any]:
    value = entry.get(key)
    return value[:NAMES] if isinstance(value, list) else []


def may_offer(entry: Any, capability: str, model: str | None) -> bool:
    """Could this orchestrator have it? One that lists only other models of that name could not."""
    if model is None:
        return True
    models = [name for name in capabilities_of(entry) if name.startswith(f"{capability}/")]
    return not models or f"{capability}/{model}" in models
