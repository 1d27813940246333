"""Who could do a job: everybody who is known, what they offer, and how they did before."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import partial
from typing import Final

from livepeer.client.config import Config
from livepeer.client.exceptions import ConnectionFailedError, LivepeerError
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.network.directory import Directory
from livepeer.client.network.live_runner import LiveRunners
from livepeer.client.network.lv2v import model_of
from livepeer.client.network.offers import TOKEN_GRACE, TOKEN_PATIENCE, Offers
from livepeer.client.network.roads import Candidate, Road
from livepeer.client.network.selection import Attempt, FailureMemory, rank, unfit
from livepeer.client.protocol.discovery import PERSISTENT, SINGLE_SHOT
from livepeer.client.types import Offer

KNOWN: Final = 1_000
"""Capabilities that somebody is remembered to have had room for."""


@dataclass(slots=True)  # made for each call: freezing would double its cost
class Choice:
    """Candidates that fit, best first, and everybody who is out of the question, with why."""

    candidates: tuple[Candidate, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    presumed: bool = False
    """Nobody was asked: should they not take it, they are."""

    @property
    def first(self) -> str | None:
        """Who is asked first."""
        return self.candidates[0].place if self.candidates else None

    @property
    def free(self) -> bool:
        """Is it known that the first asks nothing for it?"""
        offer = self.candidates[0].offer if self.candidates else None
        return offer is not None and offer.free

    @property
    def foreign(self) -> bool:
        """Is the first known to be an app that has no schema of ours to tell?"""
        offer = self.candidates[0].offer if self.candidates else None
        runners = offer.runners if offer is not None else ()
        return bool(runners) and not any(each.sdk or each.schema_sha256 for each in runners)


class Candidates:
    """Chooses who is asked to do a job, and remembers how it went."""

    def __init__(
        self,
        config: Config,
        directory: Directory,
        offers: Offers,
        runners: LiveRunners,
        byoc: Road,
        gateway: Candidate | None,
        *,
        can_pay: bool,
    ) -> None:
        self._config, self._can_pay = config, can_pay
        self._directory, self._offers = directory, offers
        self._runners, self._byoc = runners, byoc
        self._app_offers = Offers((runners,))
        self._gateway = Choice((gateway,)) if gateway is not None else None
        self._failures = FailureMemory()
        self._known: dict[str, None] = {}

    @property
    def only(self) -> str | None:
        """The one orchestrator that there is, where nobody has to be asked for it."""
        if self._gateway is not None or not self._config.sources:
            return None
        given = self._config.sources[0].orchestrators
        return given[0] if len(given) == 1 else None

    def presumed(self, capability: str) -> Choice | None:
        """Who starts a session of it without being asked for an offer first, which is a round trip.

        That is the only orchestrator, by BYOC, where nothing depends on its offer: there is no
        price to compare, and no payment to bring. What is likely to be a live runner's app is asked
        for, since these come first; one that was listed within the last minute is sent to at once.
        """
        place = self.only
        if place is None or self._can_pay or self._config.max_price is not None:
            return None
        if round(self._failures.weights().get(place, 0.0)):
            return None
        if model_of(capability):
            return None
        if self._runners.likely(place, capability):
            offer = self._runners.remembered(place, capability)
            if offer is None or not offer.free or not self._fits(offer, session=True):
                return None
            return Choice((Candidate(place, self._runners, offer),), presumed=True)
        return Choice((Candidate(place, self._byoc),), presumed=True)

    async def choose(
        self,
        http: Http,
        capability: str,
        model: str | None,
        deadline: Deadline,
        tries: int = 0,
        *,
        session: bool = False,
        apps: bool = False,
    ) -> Choice:
        """Who could do it: a gateway, which nobody asks, or those who offer it.

        `session`: for a session. An offer of the other kind is taken where there is no other, so
        that it says so itself. `apps`: as an app of live runners, and nothing else.
        """
        if self._gateway is not None:
            return self._gateway
        known = await self._directory.orchestrators(http, capability, model, deadline)
        offers = self._app_offers if apps else self._offers
        if len(known) == 1:
            kept = offers.kept(known[0], capability, session=session)
            if kept is not None and self._fits(kept[0], session=session):
                self.remember(capability)
                return Choice((Candidate(known[0], kept[1], kept[0]),))
        weights = self._failures.weights()
        found, attempts = await offers.ask(
            http,
            capability,
            sorted(known, key=lambda each: round(weights.get(each, 0.0))),
            deadline,
            partial(self._fits, session=session),
            TOKEN_PATIENCE if tries else TOKEN_GRACE,
            session=session,
        )
        roads = {offer.orchestrator: road for offer, road in found}
        ranked, others = rank(
            [offer for offer, _ in found],
            max_price=self._config.max_price,
            can_pay=self._can_pay,
            failures=weights,
        )
        if any(offer.capacity > 0 for offer, _ in found):
            self.remember(capability)
        for attempt in attempts:
            if isinstance(attempt.error, ConnectionFailedError):
                self._failures.failed(attempt.rejection.orchestrator)
        candidates = [
            Candidate(each.orchestrator, roads[each.orchestrator], each) for each in ranked
        ]
        return Choice(tuple(candidates), (*attempts, *others))

    def known(self, capability: str) -> bool:
        """Had anybody room for it before?"""
        return capability in self._known

    def near(self, capability: str) -> str | None:
        """The known capability whose name is most like this one."""
        found = difflib.get_close_matches(capability, list(self._known), 1)
        return found[0] if found else None

    def remember(self, capability: str) -> None:
        """Somebody had room for it."""
        if capability not in self._known and len(self._known) < KNOWN:
            self._known[capability] = None

    def succeeded(self, place: str) -> None:
        """Who is there took a job."""
        self._failures.succeeded(place)

    def failed(self, error: LivepeerError, place: str, capability: str) -> None:
        """Who is there did not do it: asked later, and anew, unless the caller is to blame."""
        if error.status is not None and error.status < 500 and error.status != 429:
            return  # it answered, and blamed the caller
        self._failures.failed(place)
        self.forget(place, capability)

    def forget(self, orchestrator: str, capability: str) -> None:
        """Ask anew what it offers."""
        self._offers.forget(orchestrator, capability)
        self._app_offers.forget(orchestrator, capability)

    def _fits(self, offer: Offer, *, session: bool) -> bool:
        if offer.mode not in (None, PERSISTENT if session else SINGLE_SHOT):
            return False
        return unfit(offer, max_price=self._config.max_price, can_pay=self._can_pay) is None
