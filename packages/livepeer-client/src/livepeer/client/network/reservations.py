"""Sessions of persistent live runners: reserved, and given back by whoever holds them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from livepeer.client.exceptions import (
    CallTimeoutError,
    InvalidInputError,
    LivepeerError,
    NoOrchestratorError,
    PipelineError,
    ProtocolError,
    mark_paid,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import SMALL, Http, read
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.network.roads import Candidate
from livepeer.client.payments.bill import Bill
from livepeer.client.payments.exchange import answered
from livepeer.client.protocol.discovery import ReservedPlace, RunnerEntry, place_in
from livepeer.client.protocol.results import error_of
from livepeer.client.untrusted import loads, redacted, secrets_in
from livepeer.trickle.http.call import HTTPCall

logger = logging.getLogger(__name__)

RESERVE_LIMIT: Final = 10.0
RELEASE_LIMIT: Final = 1.5
"""Seconds for a session to be reserved, and to be released."""

_GONE: Final = ("runner not found", "runner session not found", "live runners are not supported")
"""The orchestrator's words for a runner that was there a moment ago (404)."""
_NOT_REACHED: Final = "502: dial tcp "
"""How the orchestrator begins its answer where it had no connection to a runner."""
_WRONG_MODE: Final = ("runner is not single-shot", "only persistent runners have sessions")


class Reservations:
    """Reserves sessions and releases them, also those that came too late for their caller."""

    def __init__(self, trust: TlsPolicy) -> None:
        self._trust = trust
        self._bills: dict[ReservedPlace, Bill] = {}

    async def reserve(
        self,
        http: Http,
        runner: RunnerEntry,
        app: str,
        to: Candidate,
        deadline: Deadline,
        bill: Bill | None = None,
    ) -> ReservedPlace:
        """A session of the runner. One that comes after its caller has left is released.

        It is paid by `bill`, where it has a price, until it is released."""
        asked = asyncio.ensure_future(self._ask(http, runner, app, to, bill))
        try:
            async with deadline.timeout():
                return await asyncio.shield(asked)
        except BaseException as error:
            if bill is not None:
                bill.abandon()
            if not asked.done() or (not asked.cancelled() and asked.exception() is None):
                http.farewells.say(partial(self._undo, http, to.place, asked))
            if isinstance(error, TimeoutError) and not isinstance(error, LivepeerError):
                raise CallTimeoutError(
                    f"no session within the {deadline.seconds:g} s of this call",
                    phase="answer",
                    capability=app,
                    orchestrator=to.place,
                ) from error
            raise

    def bill(self, place: ReservedPlace) -> Bill | None:
        """What a session is paid by; None where it is free."""
        return self._bills.get(place)

    async def release(self, http: Http, orchestrator: str, place: ReservedPlace) -> None:
        """Give a session back. A failure is logged: the runner ends what nobody uses."""
        if (bill := self._bills.pop(place, None)) is not None:
            await bill.end()
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

    async def _undo(
        self, http: Http, orchestrator: str, asked: asyncio.Future[ReservedPlace]
    ) -> None:
        with suppress(LivepeerError):
            try:
                place = await asyncio.shield(asked)
            except asyncio.CancelledError:
                asked.cancel()  # its connections end, and nobody else waits for it
                raise
            await self.release(http, orchestrator, place)

    async def _ask(
        self, http: Http, runner: RunnerEntry, app: str, to: Candidate, bill: Bill | None
    ) -> ReservedPlace:
        try:
            place = await self._reserved(http, runner, app, to, bill)
        except LivepeerError as error:
            if bill is not None and bill.sent:
                bill.stop()
                mark_paid(error, bill.spent)
                if error.status is None:
                    # Its answer was lost, and the session may be there.
                    lost = ReservedPlace("", bill.control)
                    http.farewells.say(partial(self.release, http, to.place, lost))
            raise
        if bill is not None:
            self._bills[place] = bill
        return place

    async def _reserved(
        self, http: Http, runner: RunnerEntry, app: str, to: Candidate, bill: Bill | None
    ) -> ReservedPlace:
        where: dict[str, Any] = {"capability": app, "orchestrator": to.place}
        deadline = Deadline(RESERVE_LIMIT)

        sent: Mapping[str, str] = {}

        async def send(more: Mapping[str, str]) -> HTTPCall:
            nonlocal sent
            sent = more
            return await http.open(
                "POST",
                to.place + runner.path,
                ssl=self._trust.for_peer(),
                deadline=deadline,
                headers=more,
                where=where,
            )

        response = await answered(bill, send, deadline)
        body = await read(response, deadline, limit=SMALL, where=where)
        if response.status != 200:
            body = redacted(body.decode("utf-8", "replace"), secrets_in(sent)).encode()
            error = error_of(response.status, response.headers, body, gateway=False, where=where)
            error.may_have_run = False
            raise meant(error)
        try:
            place = place_in(loads(body))
        except ValueError:
            place = None
        if place is None:
            raise ProtocolError("its answer to a reservation names no session", **where)
        if bill is not None and bill.sent and place.control != bill.control:
            raise ProtocolError("it reserved another session than the one that was paid", **where)
        return place


def meant(error: LivepeerError) -> LivepeerError:
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
    if error.status == 502 and getattr(error, "type", None) is None and _NOT_REACHED in text:
        # Nothing of the request has reached the app, whose entry outlives it for up to 25 s.
        return NoOrchestratorError(
            f"its runner cannot be reached: {error.message}",
            capability=error.capability,
            orchestrator=error.orchestrator,
            status=502,
            passing=True,
        )
    if error.status == 400 and any(each in text for each in _WRONG_MODE):
        return InvalidInputError(
            f"{error.message} (run() and stream() are for single-shot runners, live() and session()"
            " for persistent ones)",
            capability=error.capability,
            orchestrator=error.orchestrator,
            status=400,
        )
    return error
