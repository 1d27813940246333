"""A service at one orchestrator's live-runner registry: kept alive by heartbeats, session by
session, until it takes its leave."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from livepeer.runner.attach.callers import Caller
from livepeer.runner.attach.client import RegistryAnswer, RegistryClient, Unreachable
from livepeer.runner.attach.live_runner import answers, hints
from livepeer.runner.attach.live_runner.answers import Lease
from livepeer.runner.attach.live_runner.pacemaker import HeartbeatPlan, Pacemaker, Report, trust_in
from livepeer.runner.attach.live_runner.record import RunnerRecord
from livepeer.runner.attach.live_runner.sessions import RunnerSessions
from livepeer.runner.attach.seat import Attachment, Listing
from livepeer.runner.exceptions import RegistrationError
from livepeer.runner.http.asgi import Scope
from livepeer.runner.redaction import Redactor

logger = logging.getLogger(__name__)

HEARTBEAT = "/runners/heartbeat"
LOOK_SECONDS = 1.0
"""Between two looks at the sessions, whether one is used by nobody."""


class LiveRunnerAttachment(Attachment):
    """Registers under an id that nobody had before, and stays there by heartbeats.

    A registration lives as long as heartbeats come (20 s after the last one) and not longer than
    the orchestrator. One that is lost is made anew under another id: go-livepeer keeps an id from
    everybody for up to 25 s after its last heartbeat, and lets nobody in with a secret that was
    lost. `Pacemaker` sends them; here is decided what their answers ask for.
    """

    registry: ClassVar[str] = "live-runner"

    def __init__(self, listing: Listing) -> None:
        self._client = RegistryClient(
            listing.address,
            tls=listing.tls,
            timeout=listing.timing.request,
            token=listing.caller.token,
        )
        super().__init__(listing, self._client)
        self._sessions = RunnerSessions(listing.caller, self._client)
        self._record = RunnerRecord(listing)
        self._lease: Lease | None = None
        self._sees_requests = listing.secret_path and listing.capability.mode == "persistent"
        self._draining = False
        self._pacemaker: Pacemaker | None = None
        self._plan = 0
        self._asked = 0.0
        """Since when the newest plan is: what answers it was sent later than that."""
        self._told_capacity = 0
        self._trust = "verify"
        self._left = asyncio.Event()

    # --- who calls -------------------------------------------------------------------------------

    def recognise(self, scope: Scope) -> Caller | None:
        """By the secret in the path: `Authorization` is the caller's own here."""
        if not self.listing.secret_path or not self._record.came_by_url(scope):
            return None
        if self.listing.capability.mode == "single-shot":
            return self.listing.caller  # each request is a session, and over with it
        return self._sessions.caller(scope)

    # --- how it is kept --------------------------------------------------------------------------

    def hand_over(self) -> None:
        """The successor has an id of its own, and is registered already: this one ends."""

    async def drain(self) -> None:
        """With no session: unregister. Else go on for those that there are, and take no more: a
        status other than ready would end the calls of sessions that run (go-livepeer)."""
        self._draining = True
        if self._lease is None or self._pacemaker is None:
            await self.leave()
            return
        self._say(first=0.0)
        try:
            async with asyncio.timeout(self.listing.timing.unregister):
                await self._left.wait()
        except TimeoutError:
            await self.leave()

    async def _keep(self) -> None:
        async with Pacemaker() as self._pacemaker:
            watching = asyncio.create_task(self._sessions.watch(LOOK_SECONDS), name="sessions")
            try:
                while self.state.status not in ("refused", "unregistered"):
                    await self._bootstrap()
                    if self.state.status == "registered":
                        await self._stay_hinted(self._pacemaker)
                        self._pacemaker.say(None)
                    elif self.state.status == "retrying":
                        await asyncio.sleep(self.state.delay(self.listing.timing))
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    async def _bootstrap(self) -> None:
        """The first heartbeat, with the orchestrator's secret, under a new id."""
        self._lease = None
        runner_id = f"runner-{secrets.token_hex(8)}"
        try:
            self._service_url = await self._record.read()
            body = self._record.body(runner_id, self.listing.capability.capacity)
            headers = {"Authorization": self.listing.address.secret.reveal()}
            answer = await self._ask_first(body, headers, runner_id)
        except RegistrationError as error:
            self._change("refused", str(error))
            return
        except (Unreachable, OSError) as error:
            self._change("retrying", str(error))
            return
        if answer.status != 200:
            reason, verdict = answers.first(answer)
            self._change("refused" if verdict == "final" else "retrying", reason)
            return
        try:
            self._lease = answers.lease(answer.text, runner_id)
        except ValueError as error:
            self._change("retrying", f"{error}: is it a go-livepeer orchestrator?")
            return
        self._sessions.are(self._lease.sessions, asked=time.monotonic())
        self._change("registered")

    async def _ask_first(
        self, body: dict[str, Any], headers: dict[str, str], runner_id: str
    ) -> RegistryAnswer:
        """As `_ask`. Who leaves meanwhile waits for the answer, as long as for an unregistration:
        the orchestrator may list us by now, and only the answer has the secret to take that back.
        """
        asking = asyncio.create_task(self._ask(body, headers), name="registration")
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            try:
                await asyncio.wait([asking], timeout=self.listing.timing.unregister)
            finally:
                asking.cancel()
            if asking.done() and asking.exception() is None and asking.result().status == 200:
                with suppress(ValueError):
                    self._lease = answers.lease(asking.result().text, runner_id)
            raise

    async def _stay_hinted(self, pacemaker: Pacemaker) -> None:
        """As `_stay`; a session that comes or goes is asked for at once, where that is told."""
        lease = self._lease
        assert lease is not None
        if lease.events_url is None or self.listing.capability.mode == "single-shot":
            return await self._stay(pacemaker)
        hinted = asyncio.create_task(
            hints.follow(
                lease.events_url,
                self.listing.address.url,
                self.listing.tls,
                partial(self._say, first=0.0),
            ),
            name="hints",
        )
        try:
            await self._stay(pacemaker)
        finally:
            hinted.cancel()
            await asyncio.gather(hinted, return_exceptions=True)

    async def _stay(self, pacemaker: Pacemaker) -> None:
        """Returns when it is time to register anew, or nothing is to be done any more."""
        lease = self._lease
        assert lease is not None
        self._trust = await self._trusted(lease)
        self._say(first=lease.interval / 2)
        answered = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(lease.ttl):
                    report = await pacemaker.report()
            except TimeoutError:
                report = Report(self._plan, error="no heartbeat went out")
            if report.plan not in (0, self._plan):
                continue
            answer = await self._answer(lease, report)
            now = time.monotonic()
            if answer is not None:
                answered = now
                if await self._settles(lease, answer):
                    return
            elif now - answered > lease.ttl + lease.interval:
                return

    async def _answer(self, lease: Lease, report: Report) -> RegistryAnswer | None:
        """What the orchestrator said to a heartbeat; to one from here, if that from there did not
        get through: the certificate or the address may be another one, and `tls` decides."""
        redacted = Redactor([lease.secret, self.listing.address.secret, self.listing.caller.token])
        if report.status is not None:
            return RegistryAnswer(report.status, redacted(report.text))
        headers = {"Authorization": lease.secret.reveal()}
        try:
            answer = await self._ask(self._record.body(lease.runner_id, self._capacity()), headers)
        except (Unreachable, OSError) as error:
            self._change("retrying", redacted(str(error)))
            return None
        self._trust = await self._trusted(lease)
        self._say(first=lease.interval)
        return replace(answer, text=redacted(answer.text))

    async def _settles(self, lease: Lease, answer: RegistryAnswer) -> bool:
        """Whether the answer ends this registration."""
        if answer.status != 200:
            reason, verdict = answers.later(answer)
            self._change("refused" if verdict == "final" else "retrying", reason)
            if verdict == "passing":
                return False
            self._lease = None
            self._sessions.are(frozenset(), asked=time.monotonic())
            return True
        self._took(answer)
        if self._draining and not self._sessions.listed:
            await self._unregister(lease)
            self._change("unregistered")
            self._left.set()
            return True
        if self._sees_requests and self._sessions.deserted:
            await self._unregister(lease)
            self._change("retrying", "those who reserved its places never came: anew")
            return True
        return False

    def _took(self, answer: RegistryAnswer) -> None:
        try:
            self._sessions.are(answers.sessions(answer.text), asked=self._asked)
        except ValueError as error:
            self._change("retrying", f"{error}: is it a go-livepeer orchestrator?")
            return
        if self.state.status != "registered":
            self._change("registered")
        if self._draining:
            if self._capacity() != self._told_capacity:
                self._say(first=0.0)
            elif self._sessions.listed:
                self._left.set()  # as far as it can: `leave` does the rest

    async def _ask(self, body: dict[str, Any], headers: dict[str, str]) -> RegistryAnswer:
        return await self._client.ask("POST", HEARTBEAT, headers=headers, json=body)

    def _capacity(self) -> int:
        """go-livepeer takes 0 for 1, so at 1 there may be one more than there is room for."""
        if self._draining:
            return max(1, len(self._sessions.listed))
        return self.listing.capability.capacity

    def _say(self, *, first: float) -> None:
        lease = self._lease
        if lease is None or self._pacemaker is None:
            return
        self._told_capacity = self._capacity()
        self._asked = time.monotonic()
        self._plan = self._pacemaker.say(
            HeartbeatPlan(
                url=f"{self.listing.address.url}{HEARTBEAT}",
                headers={
                    "Authorization": lease.secret.reveal(),
                    "Content-Type": "application/json",
                    "User-Agent": "livepeer-runner",
                },
                body=json.dumps(self._record.body(lease.runner_id, self._told_capacity)),
                interval=lease.interval,
                first=first,
                limit=max(1.0, min(self.listing.timing.request, lease.ttl / 4)),
                trust=self._trust,
            )
        )

    async def _trusted(self, lease: Lease) -> str:
        try:
            return await trust_in(self.listing.tls, self.listing.address.url, lease.ttl / 4)
        except OSError:
            return "verify"  # it fails there, and is asked from here then

    # --- how it ends -----------------------------------------------------------------------------

    async def _withdraw(self) -> str | None:
        self._left.set()
        lease, self._lease = self._lease, None
        try:
            await self._sessions.release_all()
            return None if lease is None else await self._unregister(lease)
        except BaseException:
            self._lease = lease  # cut short: it is withdrawn once more
            raise

    async def _unregister(self, lease: Lease) -> str | None:
        self._lease = None
        limit = self.listing.timing.unregister
        try:
            async with asyncio.timeout(limit):
                answer = await self._client.ask(
                    "POST",
                    f"/runners/{lease.runner_id}/unregister",
                    headers={"Authorization": lease.secret.reveal()},
                )
        except Unreachable as error:
            return str(error)
        except TimeoutError:
            return f"no answer within {limit:g} s"
        return answers.unregistering(answer)
