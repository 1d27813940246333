"""Which orchestrators there are, and what each offers for a capability."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from livepeer.client.config import Config, Source, url
from livepeer.client.deadline import Deadline
from livepeer.client.exceptions import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionFailedError,
    LivepeerError,
    NoOrchestratorError,
    ProtocolError,
)
from livepeer.client.http import Http
from livepeer.client.payments import Signer
from livepeer.client.selection import Attempt
from livepeer.client.tls import Trust
from livepeer.client.types import Offer, Rejection
from livepeer.client.wire import TOKEN_PATH, capacity_in, price_in, token_headers

log = logging.getLogger("livepeer.client")

#: An orchestrator that takes longer to say what it has will not be quick at the job either.
TOKEN_LIMIT: Final = 5.0
#: How long the others may still answer once one offer is there.
TOKEN_GRACE: Final = 0.25
#: Free places change from job to job, so an offer is good for calls in a row and no longer.
OFFER_SECONDS: Final = 5.0
LISTING_SECONDS: Final = 60.0


class Discovery:
    """A gateway's view of the network. Plain dicts with single operations: safe across threads."""

    def __init__(self, config: Config, trust: Trust, signer: Signer) -> None:
        self._config, self._trust, self._signer = config, trust, signer
        self._offers: dict[tuple[str, str], tuple[Offer, float]] = {}
        self._listings: dict[tuple[str, str], tuple[tuple[str, ...], float]] = {}

    async def orchestrators(
        self, http: Http, capability: str, model: str | None, deadline: Deadline
    ) -> tuple[str, ...]:
        """Those of the first source that knows any. Raises where none does."""
        if not self._config.sources:
            raise ConfigurationError(
                "no orchestrator and no gateway: pass orch_url, gateway_url, discovery_url or token"
                " to Gateway(), or set LIVEPEER_ORCH_URL"
            )
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
                Attempt(NoOrchestratorError(told, orchestrator=source.service), "discovery")
            )
        told = "; ".join(attempt.error.message for attempt in attempts)
        raise NoOrchestratorError(
            f"no orchestrator found for {capability!r}: {told}",
            capability=capability,
            rejections=[attempt.rejection for attempt in attempts],
        )

    async def offers(
        self, http: Http, capability: str, orchestrators: Sequence[str], deadline: Deadline
    ) -> tuple[list[Offer], list[Attempt]]:
        """Ask all for a token at once; the offers that came in time, and why the others did not."""
        now = time.monotonic()
        offers: list[Offer] = []
        ask: list[str] = []
        for orchestrator in orchestrators:
            known = self._offers.get((orchestrator, capability))
            if known and known[1] > now:
                offers.append(known[0])
            else:
                ask.append(orchestrator)
        if not ask or offers:
            return offers, []
        if len(ask) == 1:
            try:
                return [await self.probe(http, ask[0], capability, deadline)], []
            except CallTimeoutError as error:
                if deadline.passed:
                    raise
                return [], [Attempt(error, "token")]
            except LivepeerError as error:
                return [], [Attempt(error, _phase(error))]
        return await self._ask_all(http, capability, ask, deadline)

    async def probe(
        self, http: Http, orchestrator: str, capability: str, deadline: Deadline
    ) -> Offer:
        """What one orchestrator offers, freshly asked."""
        limit = Deadline(max(0.001, min(TOKEN_LIMIT, deadline.remaining())))
        identity = await self._signer.identity(http, limit)
        target = orchestrator + TOKEN_PATH
        where = {"orchestrator": orchestrator, "capability": capability}
        begun = time.monotonic()
        try:
            reply = await http.fetch(
                "GET",
                target,
                ssl=self._trust.for_peer(),
                deadline=limit,
                headers=token_headers(capability, identity.address, identity.signature),
                where=where,
            )
        except CallTimeoutError as error:
            raise CallTimeoutError(
                f"{orchestrator} did not say within {limit.seconds:.3g} s whether it has room",
                phase="token",
                **where,
            ) from error
        if reply.status != 200:
            text = reply.body.decode("utf-8", "replace").strip()[:200]
            raise NoOrchestratorError(
                f"its token request was answered {reply.status}: {text or 'nothing'}",
                status=reply.status,
                **where,  # type: ignore[arg-type]
            )
        try:
            token = json.loads(reply.body)
        except ValueError:
            token = None
        if not isinstance(token, dict):
            raise ProtocolError(
                "its token is not a JSON object: is this an orchestrator's address?",
                status=200,
                **where,  # type: ignore[arg-type]
            )
        offer = Offer(
            orchestrator,
            capability,
            capacity_in(token),
            price_in(token),
            time.monotonic() - begun,
            token,
        )
        if offer.capacity > 0:
            self._offers[orchestrator, capability] = (offer, time.monotonic() + OFFER_SECONDS)
        return offer

    def forget(self, orchestrator: str, capability: str) -> None:
        """Ask anew next time: something went wrong there."""
        self._offers.pop((orchestrator, capability), None)

    async def listed(self, http: Http, deadline: Deadline) -> dict[str, set[str]]:
        """All capabilities that discovery knows, each with its orchestrators."""
        found: dict[str, set[str]] = {}
        for source in self._config.sources:
            if source.service is None:
                continue
            for entry in await self._ask_service(http, source, None, deadline):
                address = _address(entry)
                for name in capabilities_of(entry):
                    if address:
                        found.setdefault(name, set()).add(address)
        return found

    async def _ask_all(
        self, http: Http, capability: str, ask: Iterable[str], deadline: Deadline
    ) -> tuple[list[Offer], list[Attempt]]:
        offers: list[Offer] = []
        attempts: list[Attempt] = []
        tasks = {
            asyncio.create_task(self.probe(http, each, capability, deadline)): each for each in ask
        }
        pending = set(tasks)
        grace: float | None = None
        try:
            while pending and not deadline.passed:
                now = time.monotonic()
                left = deadline.remaining() if grace is None else max(0.0, grace - now)
                done, pending = await asyncio.wait(
                    pending, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for task in done:
                    try:
                        offers.append(task.result())
                    except LivepeerError as error:
                        attempts.append(Attempt(error, _phase(error)))
                if grace is None and any(offer.capacity > 0 for offer in offers):
                    grace = time.monotonic() + TOKEN_GRACE
        finally:
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending)
        for task in pending:
            late = CallTimeoutError(
                "slower than the others to say whether it has room",
                phase="token",
                orchestrator=tasks[task],
                capability=capability,
            )
            attempts.append(Attempt(late, "token"))
        return offers, attempts

    async def _listed(
        self,
        http: Http,
        source: Source,
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
            self._listings[key] = (found, time.monotonic() + LISTING_SECONDS)
        return found

    async def _ask_service(
        self, http: Http, source: Source, wanted: str | None, deadline: Deadline
    ) -> list[Any]:
        service = source.service or ""
        target = service if source.name != "the signer's" else f"{service}/discover-orchestrators"
        if wanted is not None:
            target += ("&" if "?" in target else "?") + f"caps={quote(wanted, safe='/')}"
        reply = await http.fetch(
            "GET",
            target,
            ssl=self._trust.for_service(),
            deadline=Deadline(max(0.001, min(TOKEN_LIMIT, deadline.remaining()))),
            headers=source.headers,
            where={"orchestrator": service},
        )
        if reply.status == 503:
            raise NoOrchestratorError(
                f"{source.name} ({service}) knows nobody yet: try again in a moment",
                orchestrator=service,
                status=503,
            )
        if reply.status != 200:
            raise NoOrchestratorError(
                f"{source.name} ({service}) answered {reply.status}",
                orchestrator=service,
                status=reply.status,
            )
        try:
            answer = json.loads(reply.body)
        except ValueError as error:
            raise ProtocolError(
                f"{source.name} ({service}) did not answer with JSON", orchestrator=service
            ) from error
        if isinstance(answer, dict):
            answer = answer.get("orchestrators", [])
        return answer if isinstance(answer, list) else []


def _phase(error: LivepeerError) -> Any:
    nothing_sent = isinstance(error, ConnectionFailedError)
    return "connect" if nothing_sent else "token"


def _address(entry: Any) -> str | None:
    """The orchestrator's address in one entry of a listing; what is none is left out."""
    text = entry.get("address") if isinstance(entry, Mapping) else entry
    if not isinstance(text, str):
        return None
    try:
        return url("an orchestrator's address", text if "://" in text else f"https://{text}")
    except ConfigurationError:
        log.debug("discovery names something that is no address: %r", text)
        return None


def capabilities_of(entry: Any) -> list[str]:
    """Names that an entry of a listing speaks of: its capabilities, and the apps of its runners."""
    if not isinstance(entry, Mapping):
        return []
    names = [name for name in entry.get("capabilities") or [] if isinstance(name, str)]
    runners = [each for each in entry.get("runners") or [] if isinstance(each, Mapping)]
    return names + [each["app"] for each in runners if isinstance(each.get("app"), str)]


def may_offer(entry: Any, capability: str, model: str | None) -> bool:
    """Could this orchestrator have it? One that lists only other models of that name could not."""
    if model is None:
        return True
    models = [name for name in capabilities_of(entry) if name.startswith(f"{capability}/")]
    return not models or f"{capability}/{model}" in models


__all__ = ["Discovery", "Rejection", "capabilities_of", "may_offer"]
