"""One capability at one orchestrator: from the first attempt until it is taken back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from livepeer.runner.attach.byoc.client import OrchestratorClient, Unreachable
from livepeer.runner.attach.callers import Caller
from livepeer.runner.attach.capability import Capability
from livepeer.runner.attach.state import OrchestratorState, Timing
from livepeer.runner.exceptions import RegistrationError

logger = logging.getLogger(__name__)


class Attachment:
    """Registers, watches, and registers again where that is needed and does no harm.

    go-livepeer keeps registrations in memory, and sets the count of running jobs to 0 at each one.
    So it is done again only while nothing of this orchestrator runs here, and only where its token
    shows that it forgot us or lost count of the free places (which also heals those that leaked).
    """

    def __init__(
        self,
        client: OrchestratorClient,
        caller: Caller,
        *,
        capability: Capability,
        body: Callable[[str], Awaitable[dict[str, Any]]],
        is_idle: Callable[[str], bool],
        timing: Timing,
        on_change: Callable[[], None],
    ) -> None:
        self.state = OrchestratorState(caller.url)
        self._client = client
        self._caller = caller
        self._name = capability.name
        self._capacity = capability.capacity
        self._currency = capability.currency
        self._body = body
        self._is_idle = is_idle
        self._timing = timing
        self._on_change = on_change
        self._may_be_known = False
        self._service_url = ""
        self._dropped = False

    async def run(self) -> None:
        """Keep the capability registered. Returns only where the orchestrator refused it."""
        try:
            while self.state.status != "refused":
                await self._idle()
                await self._register()
                if self.state.status == "registered":
                    await self._watch()
                elif self.state.status == "retrying":
                    await asyncio.sleep(self.state.delay(self._timing))
        except Exception as error:
            logger.exception("the registration at %s has stopped", self._caller.url)
            # Its text stays in the log: `/health` is open to anybody.
            name = type(error).__name__
            self._change("refused", f"stopped by an error in this service: {name}")

    async def withdraw(self) -> None:
        """Unregister, where the orchestrator may know us; failing to is only logged."""
        if self._may_be_known:
            try:
                async with asyncio.timeout(self._timing.unregister):
                    answer = await self._client.unregister(self._name)
                failure = None if answer.status == 200 else f"it answered {answer.status}"
            except Unreachable as error:
                failure = str(error)
            except TimeoutError:
                failure = f"no answer within {self._timing.unregister:g} s"
            if failure is not None:
                logger.warning("%s may stay at %s: %s", self._name, self._caller.url, failure)
        if self.state.status != "refused":
            self._change("unregistered")

    def _is_free(self) -> bool:
        return self._caller.in_flight == 0 and self._is_idle(self._caller.url)

    async def _idle(self) -> None:
        while not self._is_free():  # noqa: ASYNC110 — is_idle is a question, it tells us nothing
            await asyncio.sleep(min(1.0, self._timing.probe))

    async def _register(self) -> None:
        try:
            body = await self._body(self._caller.url)
            self._may_be_known = True
            self._service_url = body["url"]
            answer = await self._client.register(body)
        except RegistrationError as error:
            self._change("refused", str(error))
        except (Unreachable, OSError) as error:
            self._change("retrying", f"{error}{self._currency_hint()}")
        else:
            failure = answer.registration_failure()
            if failure is None:
                self._change("registered")
            else:
                reason, final = failure
                self._may_be_known = False
                self._change("refused" if final else "retrying", reason)

    def _currency_hint(self) -> str:
        # Offchain go-livepeer resets the connection where it has no feed for the price's currency.
        if self._currency.lower() == "wei":
            return ""
        return f" (an offchain orchestrator breaks down at currency {self._currency!r}: use wei)"

    async def _watch(self) -> None:
        """Returns when it is time to register again."""
        doubts, blind = 0, 0.0
        pause = self._timing.probe
        while True:
            await asyncio.sleep(pause)
            pause = self._timing.probe
            if not self._is_free():
                doubts, blind = 0, 0.0
                continue
            started = self._caller.started
            verdict = await self._look()
            if not self._is_free() or self._caller.started != started:
                doubts = 0  # a job came meanwhile: what was seen may be its place
                continue
            match verdict:
                case "known":
                    doubts, blind = 0, 0.0
                case "away":
                    return
                case "silent":
                    blind += self._timing.probe
                    if blind >= self._timing.renew:
                        return
                case "absent":
                    # A job on its way to us takes a place too, before we know of it: look twice.
                    doubts += 2
                    pause = self._timing.confirm
                case "miscounted":
                    doubts += 1
            if doubts > 2:
                if verdict == "absent":
                    self._change("retrying", self._why_absent())
                else:
                    logger.info("%s lost places of %s", self._caller.url, self._name)
                return

    def _why_absent(self) -> str:
        """A restart forgets every capability, one that cannot be reached is dropped at each job."""
        kept = time.time() - self.state.since
        again, self._dropped = self._dropped, True
        if again and kept < 2 * self._timing.renew:
            return f"it dropped {self._name} again: it cannot reach {self._service_url}"
        return f"it no longer knows {self._name}: it was started anew, or could not reach this"

    async def _look(self) -> Literal["known", "absent", "miscounted", "away", "silent"]:
        try:
            answer = await self._client.token(self._name)
        except Unreachable as error:
            self._change("retrying", str(error))
            return "away"
        available = answer.available_capacity()
        if available is None:
            return "silent"
        if available == self._capacity:
            return "known"
        return "absent" if available == 0 else "miscounted"

    def _change(self, status: Any, reason: str | None = None) -> None:
        before, self.state = self.state, self.state.becomes(status, reason)
        if (before.status, before.reason) != (status, reason):
            match status:
                case "registered":
                    logger.info(
                        "%s is registered at %s as %s",
                        self._name,
                        self._caller.url,
                        self._service_url,
                    )
                case "retrying":
                    logger.warning(
                        "%s is not registered at %s, trying again: %s",
                        self._name,
                        self._caller.url,
                        reason,
                    )
                case "refused":
                    logger.error(
                        "%s is not registered at %s: %s", self._name, self._caller.url, reason
                    )
        self._on_change()
