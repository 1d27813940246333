"""The road by an orchestrator's live runners: its discovery tells, requests go through its proxy.

A single-shot runner takes a request as it is. A persistent one takes it in a session, which is
reserved for the start of a stream and released by whoever holds it (`Reservations`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from livepeer.client.exceptions import (
    InvalidInputError,
    LivepeerError,
    NoCapacityError,
    NoOrchestratorError,
    is_paid,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.network.jobs import RunningJob, Task
from livepeer.client.network.reservations import Reservations, meant
from livepeer.client.network.roads import Candidate, post
from livepeer.client.network.runner_lists import RunnerLists
from livepeer.client.network.selection import Attempt, FailureMemory
from livepeer.client.payments.bill import Bill
from livepeer.client.payments.budget import Budget
from livepeer.client.payments.wallet import Wallet
from livepeer.client.protocol.discovery import (
    NAME_LENGTH,
    PERSISTENT,
    SINGLE_SHOT,
    OpenApp,
    ReservedPlace,
    RunnerEntry,
)
from livepeer.client.protocol.identity import Identity, image_of, version_of
from livepeer.client.protocol.wire import path_of
from livepeer.client.types import SECONDS, Offer
from livepeer.trickle.text import printable

SHOWN: Final = 3
"""Versions and images that an error names."""
TRIES: Final = 8
"""Runners of one orchestrator that are asked in turn where those before them have no room."""
START: Final = "/stream/start"

T = TypeVar("T")


class OtherIdentityError(NoOrchestratorError):
    """The app is there, but not the version or the image that was asked for."""


class LiveRunners:
    """Offers by discovery; requests to single-shot runners, sessions with persistent ones."""

    name = "live-runner"
    gateway = False

    def __init__(self, trust: TlsPolicy, wallet: Wallet) -> None:
        self._trust, self._wallet = trust, wallet
        self._lists = RunnerLists(trust)
        self._reservations = Reservations(trust)
        self._failures = FailureMemory()

    async def offer(
        self, http: Http, orchestrator: str, capability: str, deadline: Deadline
    ) -> Offer | None:
        begun = time.monotonic()
        listed = await self._lists.get(http, orchestrator, deadline, capability)
        return self._offer(orchestrator, capability, listed, time.monotonic() - begun)

    def remembered(self, orchestrator: str, capability: str) -> Offer | None:
        """Its offer by what it has listed within the last minute."""
        if Identity.of(capability).app != capability:
            return None  # of one version or image it has to be asked
        listed = self._lists.remembered(orchestrator, capability)
        return self._offer(orchestrator, capability, listed, 0.0) if listed else None

    def _offer(
        self,
        orchestrator: str,
        capability: str,
        listed: tuple[RunnerEntry, ...],
        latency: float,
    ) -> Offer | None:
        wanted = Identity.of(capability)
        runners = [each for each in listed if wanted.fits(each)]
        if not runners:
            others = [each for each in listed if wanted.resembles(each)]
            if others:
                raise OtherIdentityError(
                    f"{capability!r} is offered there as {_told(others)} only",
                    capability=capability,
                    orchestrator=orchestrator,
                )
            return None
        free = [each for each in runners if each.price == 0]
        # Of one app with and without a price, what is free is the offer.
        asked = free or runners
        best = self._ranked(orchestrator, asked)[0]
        return Offer(
            orchestrator,
            capability,
            sum(max(0, each.free) for each in asked),
            best.price,
            latency,
            {"runners": [each.told for each in asked]},
            mode=best.mode,
            unit=best.unit or SECONDS,
            runners=tuple(each.info for each in runners),
        )

    async def apps(self, http: Http, orchestrator: str, deadline: Deadline) -> set[str]:
        """The names of all that it lists. Raises a `LivepeerError` where it cannot be reached."""
        return {each.app for each in await self._lists.told(http, orchestrator, deadline)}

    def likely(self, orchestrator: str, app: str) -> bool:
        """Whether it may have a runner of that app, as far as is known without asking."""
        return self._lists.likely(orchestrator, app)

    async def send(
        self,
        http: Http,
        task: Task,
        to: Candidate,
        deadline: Deadline,
        *,
        attempts: tuple[Attempt, ...] = (),
        paid: Callable[[], None] | None = None,
    ) -> RunningJob:
        if to.offer is None:  # in a session that is there
            return await self._post(http, task, to, deadline, attempts)
        mode = PERSISTENT if task.path == START else SINGLE_SHOT
        fit = await self._fit(http, task.capability, to, deadline, mode)

        async def by(runner: RunnerEntry) -> RunningJob:
            bill = self._wallet.bill(http, to.place, runner, task.budget, paid)
            return await self._by(http, runner, task, to, deadline, attempts, bill)

        return await self._first(to, fit, by, deadline)

    async def open(
        self,
        http: Http,
        app: str,
        to: Candidate,
        deadline: Deadline,
        budget: Budget | None = None,
        paid: Callable[[], None] | None = None,
    ) -> OpenApp:
        """An app to send requests to: in a session, or, of single-shot runners, one by one."""
        fit = await self._fit(http, app, to, deadline, PERSISTENT, SINGLE_SHOT)

        async def by(runner: RunnerEntry) -> OpenApp:
            if runner.mode == SINGLE_SHOT:
                return OpenApp(to.place, app, runner.mode, runner.path, runner.path, runner=runner)
            bill = self._wallet.bill(http, to.place, runner, budget, paid)
            place = await self._reservations.reserve(http, runner, app, to, deadline, bill)
            return OpenApp(to.place, app, runner.mode, runner.path, place.app, place, runner)

        return await self._first(to, fit, by, deadline)

    def failed(self, opened: OpenApp) -> None:
        """A request to an opened app found nobody there: ask anew who there is."""
        self._failures.failed(opened.place + opened.entry)
        self._lists.forget(opened.place)

    def bill(self, http: Http, opened: OpenApp, budget: Budget | None) -> Bill | None:
        """What one request is paid by that is a session by itself; None where it is free."""
        if opened.reserved is not None or opened.runner is None:
            return None
        return self._wallet.bill(http, opened.place, opened.runner, budget)

    def paid_by(self, place: ReservedPlace) -> Bill | None:
        """What a session is paid by; None where it is free."""
        return self._reservations.bill(place)

    async def release(self, http: Http, orchestrator: str, place: ReservedPlace) -> None:
        """Give a session back."""
        await self._reservations.release(http, orchestrator, place)

    async def _fit(
        self, http: Http, app: str, to: Candidate, deadline: Deadline, *modes: str
    ) -> list[RunnerEntry]:
        """Its runners of the first of these modes that it has any of, best first."""
        wanted = Identity.of(app)
        listed = self._lists.remembered(to.place, app)
        if not listed:
            listed = await self._lists.get(http, to.place, deadline, app)
        runners = [each for each in listed if wanted.fits(each) and self._costs(each, to.offer)]
        for mode in modes:
            fit = self._ranked(to.place, [each for each in runners if each.mode == mode])
            if fit:
                return fit[:TRIES]
        raise _none_fits(app, to, bool(runners), modes[0])

    def _costs(self, runner: RunnerEntry, offer: Offer | None) -> bool:
        """Does it cost what the offer says, or less than may be paid? One that is to be paid has a
        place as well: a payment is made before it would say that it is full."""
        if offer is None or offer.free:
            return runner.price == 0
        limit = offer.price if self._wallet.max_price is None else self._wallet.max_price
        return 0 < runner.price <= limit and runner.unit == offer.unit and runner.free > 0

    async def _first(
        self,
        to: Candidate,
        runners: list[RunnerEntry],
        by: Callable[[RunnerEntry], Awaitable[T]],
        deadline: Deadline,
    ) -> T:
        """What the first of them gives that takes it; the error of the last where none does."""
        last: LivepeerError | None = None
        for runner in runners:
            try:
                result = await by(runner)
            except (NoCapacityError, NoOrchestratorError) as error:
                self._failed(to.place, runner)
                last = error
                if error.may_have_run or is_paid(error) or deadline.passed:
                    break
                continue
            except LivepeerError as error:
                if error.status is None or error.status >= 500:
                    self._failed(to.place, runner)
                raise
            self._failures.succeeded(to.place + runner.path)
            return result
        assert last is not None
        raise last

    async def _by(
        self,
        http: Http,
        runner: RunnerEntry,
        task: Task,
        to: Candidate,
        deadline: Deadline,
        attempts: tuple[Attempt, ...],
        bill: Bill | None,
    ) -> RunningJob:
        if runner.mode == SINGLE_SHOT:
            path = f"{runner.path}/{path_of(task.route.lstrip('/'))}"
            running = await self._post(http, replace(task, path=path), to, deadline, attempts, bill)
            return replace(running, ends_with_done=runner.ours)
        place = await self._reservations.reserve(http, runner, task.capability, to, deadline, bill)
        try:
            running = await self._post(
                http, replace(task, path=place.app + START), to, deadline, attempts
            )
            return replace(running, reserved=place)
        except BaseException as error:
            said = http.farewells.say(partial(self.release, http, to.place, place))
            if isinstance(error, LivepeerError):
                await asyncio.shield(said)
            raise

    async def _post(
        self,
        http: Http,
        task: Task,
        to: Candidate,
        deadline: Deadline,
        attempts: tuple[Attempt, ...],
        bill: Bill | None = None,
    ) -> RunningJob:
        job = task.header(deadline)
        try:
            return await post(http, self._trust, task, job, to, {}, deadline, attempts, bill)
        except LivepeerError as error:
            raise meant(error) from error.__cause__

    def _ranked(self, orchestrator: str, runners: list[RunnerEntry]) -> list[RunnerEntry]:
        weights = self._failures.weights()

        def order(each: RunnerEntry) -> tuple[bool, int, float, int]:
            failed = weights.get(orchestrator + each.path, 0.0)
            return (each.free <= 0, round(failed), float(each.price), -each.free)

        return sorted(runners, key=order)

    def _failed(self, orchestrator: str, runner: RunnerEntry) -> None:
        self._failures.failed(orchestrator + runner.path)
        self._lists.forget(orchestrator)


def _told(runners: list[RunnerEntry]) -> str:
    """What the first few of them say that they are."""
    told = {image_of(each) or f"version {version_of(each) or 'unknown'}" for each in runners}
    return printable(" or ".join(sorted(told)[:SHOWN]), NAME_LENGTH)


def _none_fits(app: str, to: Candidate, known: bool, mode: str) -> LivepeerError:
    where: dict[str, Any] = {"capability": app, "orchestrator": to.place}
    if not known:
        return NoOrchestratorError(f"{app!r} is not listed there any more", **where)
    if mode == SINGLE_SHOT:
        told = f"{app!r} is a live runner with sessions: call it with live() or session()"
    else:
        told = f"{app!r} answers single requests: call it with run() or stream()"
    return InvalidInputError(told, **where)
