"""The road by an orchestrator's live runners: its discovery tells, requests go through its proxy.

A single-shot runner takes a request as it is. A persistent one takes it in a session, which is
reserved for the start of a stream and released by whoever holds it (`release`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from livepeer.client.exceptions import (
    CallTimeoutError,
    InvalidInputError,
    LivepeerError,
    NoCapacityError,
    NoOrchestratorError,
    PaymentRequiredError,
    PipelineError,
    ProtocolError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import SMALL, Http, read
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.network.jobs import RunningJob, Task
from livepeer.client.network.roads import Candidate, post
from livepeer.client.network.selection import Attempt, FailureMemory
from livepeer.client.protocol.discovery import (
    DISCOVERY_BYTES,
    DISCOVERY_PATH,
    PERSISTENT,
    SINGLE_SHOT,
    ReservedPlace,
    RunnerEntry,
    place_in,
    runners_in,
)
from livepeer.client.protocol.results import error_of
from livepeer.client.types import Offer
from livepeer.client.untrusted import LARGE, loads

logger = logging.getLogger(__name__)

DISCOVERY_LIMIT: Final = 2.0
"""Seconds that a discovery may take, as go-livepeer's own signer waits for one."""
LISTED_SECONDS: Final = 5.0
"""Free places change from call to call, so a list is good for calls in a row and no longer."""
EMPTY_SECONDS: Final = 1.0
"""One may register at any moment where there is none yet."""
NONE_SECONDS: Final = 60.0
"""An orchestrator that has no live runners, or does not tell, is asked again after this."""
LISTS: Final = 256
"""Orchestrators whose runners are remembered."""
RESERVE_LIMIT: Final = 10.0
RELEASE_LIMIT: Final = 1.5
"""Seconds for a session to be reserved, and to be released."""
TRIES: Final = 8
"""Runners of one orchestrator that are asked in turn where those before them have no room."""
START: Final = "/stream/start"

_GONE: Final = ("runner not found", "runner session not found", "live runners are not supported")
"""The orchestrator's words for a runner that was there a moment ago (404)."""
_WRONG_MODE: Final = ("runner is not single-shot", "only persistent runners have sessions")


class LiveRunners:
    """Offers by discovery; requests to single-shot runners, sessions with persistent ones.

    Plain dicts with single operations: safe across threads.
    """

    name = "live-runner"
    gateway = False

    def __init__(self, trust: TlsPolicy) -> None:
        self._trust = trust
        self._listed: dict[str, tuple[tuple[RunnerEntry, ...], float]] = {}
        self._failures = FailureMemory()

    async def offer(
        self, http: Http, orchestrator: str, capability: str, deadline: Deadline
    ) -> Offer | None:
        begun = time.monotonic()
        runners = [
            each
            for each in await self.runners(http, orchestrator, deadline)
            if each.app == capability
        ]
        if not runners:
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
            time.monotonic() - begun,
            {"runners": [each.told for each in asked]},
            mode=best.mode,
        )

    async def runners(
        self, http: Http, orchestrator: str, deadline: Deadline
    ) -> tuple[RunnerEntry, ...]:
        """Those that it lists; none where it knows no live runners, or does not tell."""
        known = self._listed.get(orchestrator)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        limit = Deadline(max(0.001, min(DISCOVERY_LIMIT, deadline.remaining())))
        try:
            reply = await http.fetch(
                "GET",
                orchestrator + DISCOVERY_PATH,
                ssl=self._trust.for_peer(),
                deadline=limit,
                where={"orchestrator": orchestrator},
                limit=DISCOVERY_BYTES,
            )
        except (CallTimeoutError, ProtocolError) as error:
            logger.debug("%s tells no live runners: %s", orchestrator, error)
            return self._keep(orchestrator, (), NONE_SECONDS)
        except LivepeerError as error:
            # It cannot be reached now: its other road says why.
            logger.debug("%s tells no live runners: %s", orchestrator, error)
            return ()
        if reply.status != 200:
            return self._keep(orchestrator, (), NONE_SECONDS)
        body = reply.body
        runners = await asyncio.to_thread(_read, body) if len(body) > LARGE else _read(body)
        return self._keep(orchestrator, runners, LISTED_SECONDS if runners else EMPTY_SECONDS)

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
        if not to.offer.free:
            # The seam of payments: an answer 402 is a challenge, which is to be answered here.
            raise PaymentRequiredError(
                f"{task.capability!r} has a price there, and live runners cannot be paid yet",
                capability=task.capability,
                orchestrator=to.place,
            )
        mode = PERSISTENT if task.path == START else SINGLE_SHOT
        runners = [
            each
            for each in await self.runners(http, to.place, deadline)
            if each.app == task.capability and each.price == 0
        ]
        fit = self._ranked(to.place, [each for each in runners if each.mode == mode])
        if not fit:
            raise _none_fits(task, to, bool(runners), mode)
        last: LivepeerError | None = None
        for runner in fit[:TRIES]:
            try:
                running = await self._by(http, runner, task, to, deadline, attempts)
            except (NoCapacityError, NoOrchestratorError) as error:
                self._failed(to.place, runner)
                last = error
                if error.may_have_run or deadline.passed:
                    break
                continue
            except LivepeerError as error:
                if error.status is None or error.status >= 500:
                    self._failed(to.place, runner)
                raise
            self._failures.succeeded(to.place + runner.path)
            return running
        assert last is not None
        raise last

    async def release(self, http: Http, orchestrator: str, place: ReservedPlace) -> None:
        """Give a session back. A failure is logged: the runner ends what nobody uses."""
        deadline = Deadline(RELEASE_LIMIT)
        try:
            response = await http.open(
                "POST",
                f"{orchestrator}{place.control}/stop",
                ssl=self._trust.for_peer(),
                deadline=deadline,
                where={"orchestrator": orchestrator},
            )
            await read(response, deadline, limit=SMALL)
        except LivepeerError as error:
            logger.warning("a session at %s may stay reserved: %s", orchestrator, error)
            return
        if response.status not in (204, 404):
            logger.warning("a session at %s may stay reserved: %d", orchestrator, response.status)

    async def _by(
        self,
        http: Http,
        runner: RunnerEntry,
        task: Task,
        to: Candidate,
        deadline: Deadline,
        attempts: tuple[Attempt, ...],
    ) -> RunningJob:
        if runner.mode == SINGLE_SHOT:
            path = f"{runner.path}/{quote(task.route.lstrip('/'), safe='/')}"
            return await self._post(http, replace(task, path=path), to, deadline, attempts)
        place = await self._reserve(http, runner, task, to, deadline)
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
    ) -> RunningJob:
        job = task.header(deadline)
        try:
            return await post(http, self._trust, task, job, to, {}, deadline, attempts)
        except LivepeerError as error:
            raise _meant(error) from error.__cause__

    async def _reserve(
        self, http: Http, runner: RunnerEntry, task: Task, to: Candidate, deadline: Deadline
    ) -> ReservedPlace:
        """A session of the runner. One that comes after its caller has left is released."""
        asked = asyncio.ensure_future(self._ask_for_place(http, runner, task, to))
        try:
            async with deadline.timeout():
                return await asyncio.shield(asked)
        except BaseException as error:
            if not asked.done() or (not asked.cancelled() and asked.exception() is None):
                http.farewells.say(partial(self._undo, http, to.place, asked))
            if isinstance(error, TimeoutError) and not isinstance(error, LivepeerError):
                raise CallTimeoutError(
                    f"no session within the {deadline.seconds:g} s of this call",
                    phase="answer",
                    capability=task.capability,
                    orchestrator=to.place,
                ) from error
            raise

    async def _undo(
        self, http: Http, orchestrator: str, asked: asyncio.Future[ReservedPlace]
    ) -> None:
        with suppress(LivepeerError):
            await self.release(http, orchestrator, await asyncio.shield(asked))

    async def _ask_for_place(
        self, http: Http, runner: RunnerEntry, task: Task, to: Candidate
    ) -> ReservedPlace:
        where: dict[str, Any] = {"capability": task.capability, "orchestrator": to.place}
        deadline = Deadline(RESERVE_LIMIT)
        response = await http.open(
            "POST",
            to.place + runner.path,
            ssl=self._trust.for_peer(),
            deadline=deadline,
            where=where,
        )
        body = await read(response, deadline, limit=SMALL, where=where)
        if response.status != 200:
            error = error_of(response.status, response.headers, body, gateway=False, where=where)
            error.may_have_run = False
            raise _meant(error)
        try:
            place = place_in(loads(body))
        except ValueError:
            place = None
        if place is None:
            raise ProtocolError("its answer to a reservation names no session", **where)
        return place

    def _ranked(self, orchestrator: str, runners: list[RunnerEntry]) -> list[RunnerEntry]:
        weights = self._failures.weights()

        def order(each: RunnerEntry) -> tuple[bool, int, float, int]:
            failed = weights.get(orchestrator + each.path, 0.0)
            return (each.free <= 0, round(failed), float(each.price), -each.free)

        return sorted(runners, key=order)

    def _failed(self, orchestrator: str, runner: RunnerEntry) -> None:
        self._failures.failed(orchestrator + runner.path)
        self._listed.pop(orchestrator, None)

    def _keep(
        self, orchestrator: str, runners: tuple[RunnerEntry, ...], seconds: float
    ) -> tuple[RunnerEntry, ...]:
        while len(self._listed) >= LISTS and orchestrator not in self._listed:
            self._listed.pop(next(iter(self._listed)), None)
        self._listed[orchestrator] = (runners, time.monotonic() + seconds)
        return runners


def _read(body: bytes) -> tuple[RunnerEntry, ...]:
    try:
        return runners_in(loads(body))
    except ValueError:
        return ()


def _none_fits(task: Task, to: Candidate, known: bool, mode: str) -> LivepeerError:
    where: dict[str, Any] = {"capability": task.capability, "orchestrator": to.place}
    if not known:
        return NoOrchestratorError(f"{task.capability!r} is not listed there any more", **where)
    if mode == SINGLE_SHOT:
        told = f"{task.capability!r} is a live runner with sessions: call it with live()"
    else:
        told = f"{task.capability!r} answers single requests: call it with run() or stream()"
    return InvalidInputError(told, **where)


def _meant(error: LivepeerError) -> LivepeerError:
    """The orchestrator's own refusals, which are no answers of an app."""
    text = error.message.lower()
    gone = isinstance(error, PipelineError) and error.status == 404
    if gone and getattr(error, "type", None) is None and any(each in text for each in _GONE):
        return NoOrchestratorError(
            f"its runner is gone: {error.message}",
            capability=error.capability,
            orchestrator=error.orchestrator,
            status=404,
        )
    if error.status == 400 and any(each in text for each in _WRONG_MODE):
        return InvalidInputError(
            f"{error.message} (run() and stream() are for single-shot runners, live() for"
            " persistent ones)",
            capability=error.capability,
            orchestrator=error.orchestrator,
            status=400,
        )
    return error
