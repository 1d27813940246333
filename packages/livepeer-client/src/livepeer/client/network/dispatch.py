"""Jobs sent: the choice of who does one, who is asked next, and when it is tried again."""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from livepeer.client.config import Config
from livepeer.client.exceptions import (
    ConfigurationError,
    ConnectionFailedError,
    LivepeerError,
    NoCapacityError,
    NoOrchestratorError,
    PaymentRequiredError,
    is_passing,
    reword,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.retries import Retries
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.network.by_gateway import ByGateway
from livepeer.client.network.byoc import Byoc
from livepeer.client.network.catalogue import Catalogue
from livepeer.client.network.directory import Directory
from livepeer.client.network.jobs import RunningJob, Task
from livepeer.client.network.live_runner import LiveRunners
from livepeer.client.network.lv2v import LiveVideoToVideo, model_of
from livepeer.client.network.offers import TOKEN_GRACE, TOKEN_PATIENCE, Offers
from livepeer.client.network.roads import Candidate, Road
from livepeer.client.network.selection import (
    Attempt,
    FailureMemory,
    gather,
    may_try_next,
    rank,
    unfit,
)
from livepeer.client.payments.bill import Bill
from livepeer.client.payments.budget import Budget
from livepeer.client.payments.wallet import Wallet
from livepeer.client.protocol.discovery import PERSISTENT, SINGLE_SHOT, OpenApp, ReservedPlace
from livepeer.client.types import Offer, Phase, Rejection

logger = logging.getLogger(__name__)

KNOWN: Final = 1_000
"""Capabilities that somebody is remembered to have had room for, and attempts on one error."""
ATTEMPTS: Final = 100

T = TypeVar("T")
Send = Callable[[Candidate, tuple[Attempt, ...], Retries], Awaitable[T]]
"""Asks one candidate, after these attempts."""


@dataclass(frozen=True, slots=True)
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


class Dispatcher:
    """Sends jobs: chooses, fails over where nothing can have run, and tries again."""

    def __init__(self, config: Config, trust: TlsPolicy, wallet: Wallet) -> None:
        self._config, self._can_pay = config, wallet.can_pay
        by_gateway = ByGateway(trust)
        # The order in which an orchestrator is asked for a capability.
        self._runners = LiveRunners(trust, wallet)
        direct: tuple[Road, ...] = (
            self._runners,
            Byoc(trust, wallet),
            LiveVideoToVideo(trust, wallet),
        )
        self._roads: dict[str, Road] = {road.name: road for road in (by_gateway, *direct)}
        self._gateway = Choice((Candidate(config.gateway, by_gateway),)) if config.gateway else None
        self._directory = Directory(config, trust)
        self._offers = Offers(direct)
        self._app_offers = Offers((self._runners,))
        self.catalogue = Catalogue(config, self._directory, self._offers, self._runners)
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
        return Choice((Candidate(place, self._roads[Byoc.name]),), presumed=True)

    async def start(
        self, http: Http, task: Task, deadline: Deadline, choice: Choice | None = None
    ) -> RunningJob:
        """Send the job and wait for the headers of a good answer.

        Where nobody has room, or is ready, that is tried again as long as the deadline allows.
        """

        async def send(
            each: Candidate, attempts: tuple[Attempt, ...], again: Retries
        ) -> RunningJob:
            job = task.by(each.road.name)
            return await each.road.send(
                http, job, each, deadline, attempts=attempts, paid=again.end
            )

        return await self._tried(http, task, deadline, choice, send)

    async def open(
        self, http: Http, app: str, deadline: Deadline, budget: Budget | None = None
    ) -> OpenApp:
        """An app of live runners to send requests to; in a session where it has those, which is
        the caller's to release. Tried again as `start` does."""
        if self._gateway is not None:
            raise ConfigurationError(
                "a gateway knows no live runners: ask orchestrators for them (orch_url or"
                " discovery_url)"
            )

        async def reserve(
            each: Candidate, attempts: tuple[Attempt, ...], again: Retries
        ) -> OpenApp:
            return await self._runners.open(http, app, each, deadline, budget, again.end)

        task = Task(app, session=True, budget=budget)
        return await self._tried(http, task, deadline, None, reserve, self._app_offers)

    async def _tried(
        self,
        http: Http,
        task: Task,
        deadline: Deadline,
        choice: Choice | None,
        send: Send[T],
        offers: Offers | None = None,
    ) -> T:
        allowed = self._config.max_retries if task.max_retries is None else task.max_retries
        again = Retries(allowed, deadline)
        before: tuple[Rejection, ...] = ()
        while True:
            try:
                if choice is None:
                    choice = await self.choose(
                        http,
                        task.capability,
                        task.model,
                        deadline,
                        again.done,
                        session=task.session,
                        offers=offers,
                    )
                result = await self._once(task, deadline, choice, again, send)
                self._remember(task.capability)
                return result
            except LivepeerError as error:
                if choice is not None and choice.presumed and _not_there(error):
                    choice = None  # there may be another road, and its offer says why not
                    continue
                rejections = (*before, *error.rejections)[-ATTEMPTS:]
                # An answer to the job says that it is known there; a gateway's says nothing.
                answered = error.status is not None and isinstance(error, NoCapacityError)
                known = answered or task.capability in self._known
                pause = again.pause(error, known=known)
                if pause is None:
                    error.rejections = rejections
                    again.told(error)
                    near = difflib.get_close_matches(task.capability, list(self._known), 1)
                    if is_passing(error) and not known and near:
                        reword(error, f"{error.message}. Did you mean {near[0]!r}?")
                    raise
                before, choice = rejections, None
                logger.debug("%s: tried again in %.2f s: %s", task.capability, pause, error)
            await asyncio.sleep(pause)

    async def choose(
        self,
        http: Http,
        capability: str,
        model: str | None,
        deadline: Deadline,
        tries: int = 0,
        *,
        session: bool = False,
        offers: Offers | None = None,
    ) -> Choice:
        """Who could do it: a gateway, which nobody asks, or those who offer it.

        `session`: for a session. An offer of the other kind is taken where there is no other, so
        that it says so itself. `offers`: of which roads, in place of all.
        """
        if self._gateway is not None:
            return self._gateway
        known = await self._directory.orchestrators(http, capability, model, deadline)
        weights = self._failures.weights()
        found, attempts = await (offers or self._offers).ask(
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
            self._remember(capability)
        for attempt in attempts:
            if isinstance(attempt.error, ConnectionFailedError):
                self._failures.failed(attempt.rejection.orchestrator)
        candidates = [
            Candidate(each.orchestrator, roads[each.orchestrator], each) for each in ranked
        ]
        return Choice(tuple(candidates), (*attempts, *others))

    async def ask(
        self,
        http: Http,
        task: Task,
        road: str,
        place: str,
        deadline: Deadline,
        *,
        pay: bool = False,
    ) -> RunningJob:
        """Send it to this one and no other: something that is there already is spoken of.

        `pay` brings a payment along, for what it costs by an offer that is asked for now.
        """
        way = self._roads[road]
        offer = await way.offer(http, place, task.capability, deadline) if pay else None
        return await way.send(http, task, Candidate(place, way, offer), deadline)

    def failed(self, opened: OpenApp) -> None:
        """Nobody answers there any more: ask anew who there is."""
        self.forget(opened.place, opened.app)
        self._runners.failed(opened)

    def bill(self, http: Http, opened: OpenApp, budget: Budget | None) -> Bill | None:
        """What one request to an app of single requests is paid by; None where it is free."""
        return self._runners.bill(http, opened, budget)

    def paid_by(self, reserved: ReservedPlace) -> Bill | None:
        """What the session of a live runner is paid by; None where it is free."""
        return self._runners.paid_by(reserved)

    async def release(self, http: Http, place: str, reserved: ReservedPlace) -> None:
        """Give the session of a live runner back."""
        await self._runners.release(http, place, reserved)

    def forget(self, orchestrator: str, capability: str) -> None:
        """Ask anew what it offers."""
        self._offers.forget(orchestrator, capability)
        self._app_offers.forget(orchestrator, capability)

    async def _once(
        self, task: Task, deadline: Deadline, choice: Choice, again: Retries, send: Send[T]
    ) -> T:
        attempts = list(choice.attempts)
        for attempt in attempts:
            logger.debug("%s: %s", task.capability, attempt.rejection)
        for each in choice.candidates:
            try:
                result = await send(each, tuple(attempts), again)
            except LivepeerError as error:
                attempts.append(Attempt(error, _phase(error)))
                self._note_failure(error, each.place, task.capability)
                logger.debug("%s: %s", task.capability, attempts[-1].rejection)
                if may_try_next(error, idempotent=task.idempotent) and not deadline.passed:
                    continue
                raise gather(task.capability, attempts) from error.__cause__
            self._failures.succeeded(each.place)
            return result
        raise gather(task.capability, attempts)

    def _fits(self, offer: Offer, *, session: bool) -> bool:
        if offer.mode not in (None, PERSISTENT if session else SINGLE_SHOT):
            return False
        return unfit(offer, max_price=self._config.max_price, can_pay=self._can_pay) is None

    def _remember(self, capability: str) -> None:
        if capability not in self._known and len(self._known) < KNOWN:
            self._known[capability] = None

    def _note_failure(self, error: LivepeerError, place: str, capability: str) -> None:
        if error.status is not None and error.status < 500 and error.status != 429:
            return  # it answered, and blamed the caller
        self._failures.failed(place)
        self.forget(place, capability)


def _not_there(error: LivepeerError) -> bool:
    """Does whoever was not asked before not have it by that road, as it seems?"""
    if error.may_have_run or error.status is None:
        return False
    no = isinstance(error, NoCapacityError | NoOrchestratorError | PaymentRequiredError)
    return no or error.status in (404, 405, 501)


def _phase(error: LivepeerError) -> Phase:
    if error.status is not None:
        return "response"
    return "request" if error.may_have_run else "connect"
