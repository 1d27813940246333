"""Jobs sent: who is asked next, and when it is tried again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from livepeer.client.config import Config
from livepeer.client.exceptions import (
    ConfigurationError,
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
from livepeer.client.network.candidates import Candidates, Choice
from livepeer.client.network.catalogue import Catalogue
from livepeer.client.network.directory import Directory
from livepeer.client.network.jobs import RunningJob, Task
from livepeer.client.network.live_runner import LiveRunners
from livepeer.client.network.lv2v import LiveVideoToVideo
from livepeer.client.network.offers import Offers
from livepeer.client.network.roads import Candidate, Road
from livepeer.client.network.selection import (
    Attempt,
    gather,
    may_try_next,
)
from livepeer.client.payments.bill import Bill
from livepeer.client.payments.budget import Budget
from livepeer.client.payments.wallet import Wallet
from livepeer.client.protocol.discovery import OpenApp, ReservedPlace
from livepeer.client.types import Phase, Rejection

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 100
"""Attempts that stand on one error."""

T = TypeVar("T")
Send = Callable[[Candidate, tuple[Attempt, ...], Retries], Awaitable[T]]
"""Asks one candidate, after these attempts."""


class Dispatcher:
    """Sends jobs: fails over where nothing can have run, and tries again."""

    def __init__(self, config: Config, trust: TlsPolicy, wallet: Wallet) -> None:
        self._max_retries = config.max_retries
        by_gateway, byoc = ByGateway(trust), Byoc(trust, wallet)
        self._runners = LiveRunners(trust, wallet)
        # The order in which an orchestrator is asked for a capability.
        direct: tuple[Road, ...] = (self._runners, byoc, LiveVideoToVideo(trust, wallet))
        self._roads: dict[str, Road] = {road.name: road for road in (by_gateway, *direct)}
        self._by_gateway = bool(config.gateway)
        directory, offers = Directory(config, trust), Offers(direct)
        self.catalogue = Catalogue(config, directory, offers, self._runners)
        self.candidates = Candidates(
            config,
            directory,
            offers,
            self._runners,
            byoc,
            Candidate(config.gateway, by_gateway) if config.gateway else None,
            can_pay=wallet.can_pay,
        )

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
        if self._by_gateway:
            raise ConfigurationError(
                "a gateway knows no live runners: ask orchestrators for them (orch_url or"
                " discovery_url)"
            )

        async def reserve(
            each: Candidate, attempts: tuple[Attempt, ...], again: Retries
        ) -> OpenApp:
            return await self._runners.open(http, app, each, deadline, budget, again.end)

        task = Task(app, session=True, budget=budget)
        return await self._tried(http, task, deadline, None, reserve, apps=True)

    async def _tried(
        self,
        http: Http,
        task: Task,
        deadline: Deadline,
        choice: Choice | None,
        send: Send[T],
        *,
        apps: bool = False,
    ) -> T:
        allowed = self._max_retries if task.max_retries is None else task.max_retries
        again = Retries(allowed, deadline)
        before: tuple[Rejection, ...] = ()
        while True:
            try:
                if choice is None:
                    choice = await self.candidates.choose(
                        http,
                        task.capability,
                        task.model,
                        deadline,
                        again.done,
                        session=task.session,
                        apps=apps,
                    )
                result = await self._once(task, deadline, choice, again, send)
                self.candidates.remember(task.capability)
                return result
            except LivepeerError as error:
                if choice is not None and choice.presumed and _not_there(error):
                    choice = None  # there may be another road, and its offer says why not
                    continue
                rejections = (*before, *error.rejections)[-ATTEMPTS:]
                # An answer to the job says that it is known there; a gateway's says nothing.
                answered = error.status is not None and isinstance(error, NoCapacityError)
                known = answered or self.candidates.known(task.capability)
                pause = again.pause(error, known=known)
                if pause is None:
                    error.rejections = rejections
                    again.told(error)
                    if is_passing(error) and not known:
                        near = self.candidates.near(task.capability)
                        if near is not None:
                            reword(error, f"{error.message}. Did you mean {near!r}?")
                    raise
                before, choice = rejections, None
                logger.debug("%s: tried again in %.2f s: %s", task.capability, pause, error)
            await asyncio.sleep(pause)

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
        self.candidates.forget(opened.place, opened.app)
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
                self.candidates.failed(error, each.place, task.capability)
                logger.debug("%s: %s", task.capability, attempts[-1].rejection)
                if may_try_next(error, idempotent=task.idempotent) and not deadline.passed:
                    continue
                raise gather(task.capability, attempts) from error.__cause__
            self.candidates.succeeded(each.place)
            return result
        raise gather(task.capability, attempts)


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
