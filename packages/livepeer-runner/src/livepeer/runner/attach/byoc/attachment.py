"""A capability at one orchestrator's BYOC registry: registered, kept known, and taken back."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Literal

from livepeer.runner.attach import gpu
from livepeer.runner.attach.byoc.client import (
    OrchestratorClient,
    available_capacity,
    registration_failure,
)
from livepeer.runner.attach.client import Unreachable
from livepeer.runner.attach.seat import Attachment, Listing
from livepeer.runner.exceptions import RegistrationError

logger = logging.getLogger(__name__)


class BYOCAttachment(Attachment):
    """Registers, watches, and registers again where that is needed and does no harm.

    go-livepeer keeps registrations in memory, and sets the count of running jobs to 0 at each one.
    So it is done again only while nothing of this orchestrator runs here, and only where its token
    shows that it forgot us or lost count of the free places (which also heals those that leaked).
    """

    registry = "byoc"

    def __init__(self, listing: Listing) -> None:
        self._client = OrchestratorClient(
            listing.address,
            tls=listing.tls,
            timeout=listing.timing.request,
            token=listing.caller.token,
        )
        super().__init__(listing, self._client)
        self._caller = listing.caller
        self._capability = listing.capability
        self._timing = listing.timing
        self._description: str | None = None
        self._may_be_known = False
        self._dropped = False

    async def _keep(self) -> None:
        while self.state.status != "refused":
            await self._idle()
            await self._register()
            if self.state.status == "registered":
                await self._watch()
            elif self.state.status == "retrying":
                await asyncio.sleep(self.state.delay(self._timing))

    async def _withdraw(self) -> str | None:
        if not self._may_be_known:
            return None
        try:
            async with asyncio.timeout(self._timing.unregister):
                answer = await self._client.unregister(self._capability.name)
        except Unreachable as error:
            return str(error)
        except TimeoutError:
            return f"no answer within {self._timing.unregister:g} s"
        return None if answer.status == 200 else f"it answered {answer.status}"

    def _is_free(self) -> bool:
        return self._caller.in_flight == 0 and self.listing.is_idle()

    async def _idle(self) -> None:
        while not self._is_free():  # noqa: ASYNC110 — is_idle is a question, it tells us nothing
            await asyncio.sleep(min(1.0, self._timing.probe))

    async def _register(self) -> None:
        try:
            body = await self._body()
            self._may_be_known = True
            self._service_url = body["url"]
            answer = await self._client.register(body)
        except RegistrationError as error:
            self._change("refused", str(error))
        except (Unreachable, OSError) as error:
            self._change("retrying", f"{error}{self._currency_hint()}")
        else:
            failure = registration_failure(answer)
            if failure is None:
                self._change("registered")
            else:
                reason, final = failure
                self._may_be_known = False
                self._change("refused" if final else "retrying", reason)

    async def _body(self) -> dict[str, Any]:
        """The registry has no field for the hardware, so it is told in the description."""
        url = await self.listing.url()
        if self._description is None:
            hardware = gpu.describe(await gpu.read_gpus())
            parts = (self._capability.description, f"[{hardware}]" if hardware else "")
            self._description = " ".join(part for part in parts if part)
        body = self._capability.body(url=url, token=self._caller.token)
        return {**body, "description": self._description}

    def _currency_hint(self) -> str:
        # Offchain go-livepeer resets the connection where it has no feed for the price's currency.
        currency = self._capability.currency
        if currency.lower() == "wei":
            return ""
        return f" (an offchain orchestrator breaks down at currency {currency!r}: use wei)"

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
                    logger.info("%s lost places of %s", self._caller.url, self._capability.name)
                return

    def _why_absent(self) -> str:
        """A restart forgets every capability, one that cannot be reached is dropped at each job."""
        kept = time.time() - self.state.since
        again, self._dropped = self._dropped, True
        name = self._capability.name
        if again and kept < 2 * self._timing.renew:
            return f"it dropped {name} again: it cannot reach {self._service_url}"
        return f"it no longer knows {name}: it was started anew, or could not reach this"

    async def _look(self) -> Literal["known", "absent", "miscounted", "away", "silent"]:
        try:
            answer = await self._client.token(self._capability.name)
        except Unreachable as error:
            self._change("retrying", str(error))
            return "away"
        available = available_capacity(answer)
        if available is None:
            return "silent"
        if available == self._capability.capacity:
            return "known"
        return "absent" if available == 0 else "miscounted"
