"""One job, from the choice of who does it to the headers of the answer."""

from __future__ import annotations

import asyncio
import difflib
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from livepeer.client.config import Config
from livepeer.client.exceptions import (
    CallTimeoutError,
    ConnectionFailedError,
    LivepeerError,
    NoCapacityError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import SMALL, Http, read
from livepeer.client.http.retries import Retries
from livepeer.client.http.tls import Trust
from livepeer.client.network.directory import Directory
from livepeer.client.network.offers import TOKEN_GRACE, TOKEN_PATIENCE, Offers
from livepeer.client.network.running import RunningJob
from livepeer.client.network.selection import (
    Attempt,
    FailureMemory,
    gather,
    may_try_next,
    rank,
    unfit,
)
from livepeer.client.payments import Signer
from livepeer.client.protocol.results import error_of
from livepeer.client.protocol.wire import JOB, JobHeader, compact_json, job_url
from livepeer.client.types import Offer, Phase, Rejection
from livepeer.client.untrusted import redacted, secrets_in

logger = logging.getLogger(__name__)

KNOWN: Final = 1_000
"""Capabilities that somebody is remembered to have had room for, and attempts on one error."""
ATTEMPTS: Final = 100


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be run, wherever that will be."""

    capability: str
    body: bytes
    content_type: str
    route: str = "predict"
    model: str | None = None
    idempotent: bool = False
    max_retries: int | None = None
    """Tries after the first one where nobody had room; as the gateway says where this is None."""
    path: str | None = None
    """Another endpoint than that of jobs, by the road."""
    job_id: str | None = None
    parameters: str = "{}"
    request: str | None = None
    sending: Callable[[str], None] | None = None
    """Told of everyone that it is sent to, before it is."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Offers that fit, best first, and everybody who is out of the question, with why."""

    offers: tuple[Offer, ...] = ()
    attempts: tuple[Attempt, ...] = ()


class Dispatcher:
    """Sends jobs: chooses, signs, fails over where nothing can have run."""

    def __init__(self, config: Config, trust: Trust, signer: Signer) -> None:
        self._config, self._trust, self._signer = config, trust, signer
        self.directory = Directory(config, trust)
        self.offers = Offers(trust, signer)
        self._failures = FailureMemory()
        self._known: dict[str, None] = {}

    async def start(
        self, http: Http, task: Task, deadline: Deadline, choice: Choice | None = None
    ) -> RunningJob:
        """Send the job and wait for the headers of a good answer.

        Where nobody has room, or is ready, that is tried again as long as the deadline allows.
        """
        allowed = self._config.max_retries if task.max_retries is None else task.max_retries
        again = Retries(allowed, deadline)
        before: tuple[Rejection, ...] = ()
        while True:
            try:
                running = await self._once(http, task, deadline, choice, again)
                self._remember(task.capability)
                return running
            except LivepeerError as error:
                rejections = (*before, *error.rejections)[-ATTEMPTS:]
                # An answer to the job says that it is known there; a gateway's says nothing.
                answered = error.status is not None and isinstance(error, NoCapacityError)
                known = answered or task.capability in self._known
                pause = again.pause(error, known=known)
                if pause is None:
                    error.rejections = rejections
                    again.told(error)
                    near = difflib.get_close_matches(task.capability, list(self._known), 1)
                    if error._passing and not known and near:
                        error._say(f"{error.message}. Did you mean {near[0]!r}?")
                    raise
                before, choice = rejections, None
                logger.debug("%s: tried again in %.2f s: %s", task.capability, pause, error)
            await asyncio.sleep(pause)

    async def choose(
        self, http: Http, capability: str, model: str | None, deadline: Deadline, tries: int = 0
    ) -> Choice:
        """Who could do it. Through a gateway nobody knows, and nobody has to."""
        if self._config.gateway:
            return Choice()
        known = await self.directory.orchestrators(http, capability, model, deadline)
        weights = self._failures.weights()
        offers, attempts = await self.offers.ask(
            http,
            capability,
            sorted(known, key=lambda each: round(weights.get(each, 0.0))),
            deadline,
            self._fits,
            TOKEN_PATIENCE if tries else TOKEN_GRACE,
        )
        ranked, others = rank(
            offers,
            max_price=self._config.max_price,
            can_pay=self._signer.can_pay,
            failures=weights,
        )
        if any(offer.capacity > 0 for offer in offers):
            self._remember(capability)
        for attempt in attempts:
            if isinstance(attempt.error, ConnectionFailedError):
                self._failures.failed(attempt.rejection.orchestrator)
        return Choice(tuple(ranked), (*attempts, *others))

    async def ask(
        self, http: Http, task: Task, base: str, deadline: Deadline, *, pay: bool = False
    ) -> RunningJob:
        """Send it to this one and no other: something that is there already is spoken of.

        `pay` brings a payment along, for what it costs by a token that is asked for now.
        """
        job = self._job(task, deadline)
        where = {"capability": task.capability, "orchestrator": base, "job_id": job.id}
        gateway = base == self._config.gateway
        headers: dict[str, str] = {}
        if pay:
            offer = await self.offers.probe(http, base, task.capability, deadline)
            headers = await self._signer.payment(http, job, offer, deadline)
        headers[JOB] = job.header() if gateway else await self._signer.sign(http, job, deadline)
        return await self._send(http, task, base, headers, deadline, where, gateway=gateway)

    async def _once(
        self, http: Http, task: Task, deadline: Deadline, choice: Choice | None, again: Retries
    ) -> RunningJob:
        if self._config.gateway:
            return await self._by_gateway(http, task, deadline, self._config.gateway)
        if choice is None:
            choice = await self.choose(http, task.capability, task.model, deadline, again.done)
        return await self._by_orchestrators(http, task, deadline, choice, again)

    def first(self, choice: Choice) -> str | None:
        """Who is asked first."""
        offers = choice.offers
        return self._config.gateway or (offers[0].orchestrator if offers else None)

    def _fits(self, offer: Offer) -> bool:
        reason = unfit(offer, max_price=self._config.max_price, can_pay=self._signer.can_pay)
        return reason is None

    def _remember(self, capability: str) -> None:
        if capability not in self._known and len(self._known) < KNOWN:
            self._known[capability] = None

    async def _by_orchestrators(
        self, http: Http, task: Task, deadline: Deadline, choice: Choice, again: Retries
    ) -> RunningJob:
        attempts = list(choice.attempts)
        for attempt in attempts:
            logger.debug("%s: %s", task.capability, attempt.rejection)
        for offer in choice.offers:
            job = self._job(task, deadline)
            where = {
                "capability": task.capability,
                "orchestrator": offer.orchestrator,
                "job_id": job.id,
            }
            try:
                headers = await self._signer.payment(http, job, offer, deadline)
                if headers:
                    again.end()
                headers[JOB] = await self._signer.sign(http, job, deadline)
                running = await self._send(http, task, offer.orchestrator, headers, deadline, where)
            except LivepeerError as error:
                attempts.append(Attempt(error, _phase(error)))
                self._note_failure(error, offer)
                logger.debug("%s: %s", task.capability, attempts[-1].rejection)
                if may_try_next(error, idempotent=task.idempotent) and not deadline.passed:
                    continue
                raise gather(task.capability, [*attempts]) from error.__cause__
            self._failures.succeeded(offer.orchestrator)
            running.attempts, running.priced = tuple(attempts), not offer.free
            return running
        raise gather(task.capability, attempts)

    async def _by_gateway(
        self, http: Http, task: Task, deadline: Deadline, gateway: str
    ) -> RunningJob:
        job = self._job(task, deadline)
        where = {"capability": task.capability, "orchestrator": gateway, "job_id": job.id}
        try:
            return await self._send(
                http, task, gateway, {JOB: job.header()}, deadline, where, gateway=True
            )
        except LivepeerError as error:
            raise gather(task.capability, [Attempt(error, _phase(error))]) from error.__cause__

    async def _send(
        self,
        http: Http,
        task: Task,
        base: str,
        headers: dict[str, str],
        deadline: Deadline,
        where: dict[str, str],
        *,
        gateway: bool = False,
    ) -> RunningJob:
        headers["Content-Type"] = task.content_type
        if task.sending is not None:
            task.sending(base)
        secrets = secrets_in(headers)
        response = await http.open(
            "POST",
            base + task.path if task.path else job_url(base, task.route),
            ssl=self._trust.for_peer(),
            deadline=deadline,
            headers=headers,
            body=task.body,
            job=True,
            where=where,
        )
        if response.status == 200 or (task.path and 200 < response.status < 300):
            return RunningJob(response, where, gateway, deadline, secrets=secrets)
        body = await read(response, deadline, limit=SMALL, job=True, where=where)
        body = redacted(body.decode("utf-8", "replace"), secrets).encode()
        error = error_of(response.status, response.headers, body, gateway=gateway, where=where)
        if deadline.passed and error.status == 500:
            # Both clocks ran out together: the orchestrator was the first to say so.
            error = CallTimeoutError(
                f"no answer within the {deadline.seconds:g} s of this call",
                phase="answer",
                may_have_run=True,
                status=500,
                **where,
            )
        raise error

    def _job(self, task: Task, deadline: Deadline) -> JobHeader:
        request = task.request or compact_json({"model": task.model} if task.model else {})
        return JobHeader(
            id=task.job_id or uuid.uuid4().hex,
            capability=task.capability,
            timeout_seconds=deadline.whole_seconds(),
            request=request,
            parameters=task.parameters,
        )

    def _note_failure(self, error: LivepeerError, offer: Offer) -> None:
        if error.status is not None and error.status < 500 and error.status != 429:
            return  # it answered, and blamed the caller
        self._failures.failed(offer.orchestrator)
        self.offers.forget(offer.orchestrator, offer.capability)


def _phase(error: LivepeerError) -> Phase:
    if error.status is not None:
        return "response"
    return "request" if error.may_have_run else "connect"
