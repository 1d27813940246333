"""What orchestrators offer for a capability: asked road by road, and kept for a moment."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from livepeer.client.exceptions import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionFailedError,
    LivepeerError,
    NoOrchestratorError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.network.live_runner import OtherIdentityError
from livepeer.client.network.roads import Road
from livepeer.client.network.selection import Attempt
from livepeer.client.types import Offer, Phase

TOKEN_GRACE: Final = 0.25
"""How long the others may still answer once one offer that fits is there."""
OFFER_SECONDS: Final = 5.0
"""Free places change from job to job, so an offer is good for calls in a row and no longer."""
TOKEN_PATIENCE: Final = 2.0
"""The same where those that answer first have just refused."""
AT_ONCE: Final = 32
"""How many are asked at once; one that answers makes room for the next."""
OFFERS: Final = 256
"""Offers that are kept."""

ROAD_GRACE: Final = 0.1
"""How long an earlier road may still answer once a later one has, which is to cost no wait."""

Tasks = list[asyncio.Task[Offer | None]]
Fits = Callable[[Offer], bool]
Found = tuple[Offer, Road]
"""An offer, and the road by which it was made."""


class Offers:
    """Offers as they were told last. Plain dicts with single operations: safe across threads."""

    def __init__(self, roads: Sequence[Road]) -> None:
        self._roads = roads
        self._kept: dict[tuple[str, str, bool], tuple[Found, float]] = {}

    async def ask(
        self,
        http: Http,
        capability: str,
        orchestrators: Sequence[str],
        deadline: Deadline,
        fits: Fits,
        grace: float = TOKEN_GRACE,
        *,
        session: bool = False,
    ) -> tuple[list[Found], list[Attempt]]:
        """Ask all; the offers that came in time, and why the others did not.

        Only an offer that `fits` ends the wait for others, or spares asking them for a while: one
        that is too dear, or that nobody can pay, must not hide one that is free. Those for a
        `session` are kept apart: an app may take these by another road.
        """
        offers: list[Found] = []
        ask: list[str] = []
        for orchestrator in orchestrators:
            kept = self.kept(orchestrator, capability, session=session)
            if kept is not None and fits(kept[0]):
                offers.append(kept)
            else:
                ask.append(orchestrator)
        if not ask or offers:
            return offers, []
        if len(ask) == 1:
            try:
                return [await self._asked(http, ask[0], capability, deadline, fits, session)], []
            except CallTimeoutError as error:
                if deadline.passed:
                    raise
                return [], [Attempt(error, "token")]
            except LivepeerError as error:
                return [], [Attempt(error, phase_of(error))]
        return await self._ask_all(http, capability, ask, deadline, fits, grace, session)

    def kept(self, orchestrator: str, capability: str, *, session: bool) -> Found | None:
        """What it offered a moment ago."""
        known = self._kept.get((orchestrator, capability, session))
        return known[0] if known and known[1] > time.monotonic() else None

    async def probe_all(
        self, http: Http, orchestrators: Iterable[str], capability: str, deadline: Deadline
    ) -> tuple[list[Found], list[Attempt]]:
        """What each of them offers by each road, freshly asked and waited for, with the errors of
        the others."""
        room = asyncio.Semaphore(AT_ONCE)

        async def probe(orchestrator: str) -> tuple[list[Found], LivepeerError | None]:
            async with room:
                return await self._by_each(http, orchestrator, capability, deadline)

        tasks = {asyncio.create_task(probe(each)): each for each in orchestrators}
        offers: list[Found] = []
        attempts: list[Attempt] = []
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=deadline.remaining())
            for task, orchestrator in tasks.items():
                if not task.done():
                    attempts.append(Attempt(_late(orchestrator, capability), "token"))
                    continue
                found, error = task.result()
                offers += found
                if error is not None:
                    attempts.append(Attempt(error, phase_of(error)))
        finally:
            if tasks:
                await _ended(list(tasks))
        return offers, attempts

    async def _by_each(
        self, http: Http, orchestrator: str, capability: str, deadline: Deadline
    ) -> tuple[list[Found], LivepeerError | None]:
        """All offers of one orchestrator, or why it has none."""
        answers = await asyncio.gather(
            *(road.offer(http, orchestrator, capability, deadline) for road in self._roads),
            return_exceptions=True,
        )
        offers: list[Found] = []
        failure: LivepeerError | None = None
        for road, answer in zip(self._roads, answers, strict=True):
            match answer:
                case LivepeerError():
                    failure = answer
                case BaseException():
                    raise answer
                case Offer():
                    offers.append((answer, road))
        # A token says "no place" of an unknown name too: beside a runner that says nothing.
        told = [found for found in offers if found[0].capacity > 0 or found[0].mode is not None]
        if told or offers:
            return told or offers, None
        return [], failure or _unknown(orchestrator, capability)

    def _keep(self, key: tuple[str, str, bool], found: Found) -> None:
        """Never what a payment is made of: each job changes the balance that a token tells, and a
        minute of the price would be paid for every call; and tickets of one offer that are made
        twice are the same tickets."""
        while len(self._kept) >= OFFERS:
            self._kept.pop(next(iter(self._kept)), None)
        self._kept[key] = (found, time.monotonic() + OFFER_SECONDS)

    def forget(self, orchestrator: str, capability: str) -> None:
        """Ask anew next time: something went wrong there."""
        for session in (False, True):
            self._kept.pop((orchestrator, capability, session), None)

    async def _asked(
        self,
        http: Http,
        orchestrator: str,
        capability: str,
        deadline: Deadline,
        fits: Fits,
        session: bool,
    ) -> Found:
        """By the first road with an offer that fits, or else by the first that knows it there.

        All roads are asked at once, so that one that is not there costs the others no wait.
        """
        tasks = [
            asyncio.create_task(road.offer(http, orchestrator, capability, deadline))
            for road in self._roads
        ]
        first: Found | None = None
        failure: LivepeerError | None = None
        try:
            for road, task in zip(self._roads, tasks, strict=True):
                await _wait(task, tasks, fits)
                if not task.done():
                    continue
                try:
                    offer = task.result()
                except LivepeerError as error:
                    failure = failure if isinstance(failure, OtherIdentityError) else error
                    continue
                if offer is None:
                    continue
                if fits(offer):
                    found = (offer, road)
                    if offer.free or offer.runners:
                        self._keep((orchestrator, capability, session), found)
                    return found
                first = first or (offer, road)
        finally:
            await _ended(tasks)
        if first is not None and not isinstance(failure, OtherIdentityError | ConfigurationError):
            return first
        if failure is not None:
            raise failure
        raise _unknown(orchestrator, capability)

    async def _ask_all(
        self,
        http: Http,
        capability: str,
        orchestrators: Iterable[str],
        deadline: Deadline,
        fits: Fits,
        grace: float,
        session: bool,
    ) -> tuple[list[Found], list[Attempt]]:
        waiting = iter(orchestrators)
        offers: list[Found] = []
        attempts: list[Attempt] = []
        asked: dict[asyncio.Task[Found], str] = {}
        pending: set[asyncio.Task[Found]] = set()
        until: float | None = None
        try:
            while not deadline.passed:
                # Nobody new is asked once somebody who fits has answered.
                room = AT_ONCE - len(pending) if until is None else 0
                for each in itertools.islice(waiting, room):
                    task = asyncio.create_task(
                        self._asked(http, each, capability, deadline, fits, session)
                    )
                    asked[task] = each
                    pending.add(task)
                if not pending:
                    break
                left = deadline.remaining() if until is None else until - time.monotonic()
                done, pending = await asyncio.wait(
                    pending, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for task in done:
                    try:
                        offer = task.result()
                    except LivepeerError as error:
                        attempts.append(Attempt(error, phase_of(error)))
                        continue
                    offers.append(offer)
                    if until is None and fits(offer[0]):
                        until = time.monotonic() + grace
        finally:
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending)
        attempts += [Attempt(_late(asked[task], capability), "token") for task in pending]
        return offers, attempts


async def _wait(task: asyncio.Task[Offer | None], tasks: Tasks, fits: Fits) -> None:
    """For this road, and only for `ROAD_GRACE` once a later one has an offer that fits."""
    later = tasks[tasks.index(task) + 1 :]
    while not task.done():
        told = any(_fit(each, fits) for each in later)
        await asyncio.wait(
            [task, *(each for each in later if not told and not each.done())],
            timeout=ROAD_GRACE if told else None,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if told:
            return


def _fit(task: asyncio.Task[Offer | None], fits: Fits) -> bool:
    if not task.done() or task.exception() is not None:
        return False
    offer = task.result()
    return offer is not None and fits(offer)


def _late(orchestrator: str, capability: str) -> LivepeerError:
    return CallTimeoutError(
        "slower than the others to say whether it has room",
        phase="token",
        orchestrator=orchestrator,
        capability=capability,
    )


def _unknown(orchestrator: str, capability: str) -> LivepeerError:
    return NoOrchestratorError(
        f"{capability!r} is not listed there (livepeer discover shows what is)",
        orchestrator=orchestrator,
        capability=capability,
    )


async def _ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """None of them is left behind, nor its error unread."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()


def phase_of(error: LivepeerError) -> Phase:
    nothing_sent = isinstance(error, ConnectionFailedError)
    return "connect" if nothing_sent else "token"
