"""Sessions that have to be paid for: asked for money, opened by a payment, debited, and released
where nothing is left."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web

from livepeer.runner.devnet.go_http import json_reply, read_small, reply
from livepeer.runner.devnet.live_runners.records import (
    RegisteredRunner,
    ReservedSession,
    random_name,
)
from livepeer.runner.devnet.live_runners.registry import RunnerRegistry
from livepeer.runner.devnet.live_runners.states import RunnerRefusal
from livepeer.runner.devnet.payments.recipient import PaymentRefusal
from livepeer.runner.devnet.payments.till import Paid, PriceTag, Till
from livepeer.runner.devnet.urls import escape_path

logger = logging.getLogger(__name__)

DEBIT_SECONDS = 5.0
"""go-livepeer's `-livePaymentInterval`: so much of the price is taken, so often."""
_MOST_BYTES = 1 << 16


class PaidSessions:
    """Those of one orchestrator. Owns a task for each that is debited."""

    def __init__(self, registry: RunnerRegistry, till: Till) -> None:
        self.till = till
        self._registry = registry
        self._debits: dict[str, asyncio.Task[None]] = {}
        self._prices: dict[str, PriceTag] = {}

    async def aclose(self) -> None:
        """End all debits."""
        tasks = list(self._debits.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def price(self, runner: RegisteredRunner) -> PriceTag:
        """What a runner costs; raises `RunnerRefusal`."""
        said = runner.says.price_info
        price = self.till.price(said.price, said.unit)
        if price is None:
            raise RunnerRefusal(
                503,
                "live runner price unavailable: converted live runner price must be at least one"
                " wei",
            )
        return price

    def ask(self, request: web.Request, runner: RegisteredRunner) -> web.Response:
        """The 402 that says what to pay. Nothing is reserved."""
        price = self.price(runner)
        try:
            sender = self.till.payer(request.headers.get("Livepeer-Payer-Address", ""))
        except PaymentRefusal as refusal:
            if refusal.status != 402:
                raise RunnerRefusal(refusal.status, str(refusal)) from None
            return _json(402, {"error": {"message": str(refusal)}})
        manifest = f"session_{random_name(5)}"
        path = escape_path(f"/apps/{runner.route}/session/{manifest}/payment")
        url = self._registry.address + path
        return _json(402, self.till.challenge(sender, manifest, price, url))

    async def reserve(
        self,
        request: web.Request,
        runner: RegisteredRunner,
        released: Callable[[], None] | None = None,
    ) -> ReservedSession:
        """The place that a request pays for; raises `RunnerRefusal`. `released` is told where it
        is not paid any longer."""
        try:
            paid = await asyncio.to_thread(self.till.read, request.headers)
            if paid.manifest != paid.session:
                raise PaymentRefusal(403, "mismatched manifest and auth token")
            price = self.price(runner)
            self.till.fixed(paid, price)
            session = self._registry.reserve(runner.route, paid.manifest)
            try:
                await self.till.take(paid)
                if price.unit == "fixed" and not self.till.debit(paid, price, 0):
                    raise PaymentRefusal(402, "insufficient balance")
            except BaseException:
                self._registry.release(runner.route, session.id)
                raise
        except PaymentRefusal as refusal:
            raise RunnerRefusal(refusal.status, str(refusal)) from None
        self._prices[session.id] = price
        logger.info(
            "live runner %s: a session is paid, %.0f wei are there",
            ascii(runner.id),
            self.till.balance(paid),
        )
        if price.unit != "fixed":
            work = self._debit(runner, session, paid, price, released)
            task = asyncio.create_task(work, name="devnet-debits")
            self._debits[session.id] = task
            task.add_done_callback(lambda _: self._debits.pop(session.id, None))
        return session

    async def pay(self, request: web.Request, session: ReservedSession) -> web.Response:
        """A payment for a session that runs; raises `RunnerRefusal`."""
        price = self._prices.get(session.id)
        if price is not None and price.unit == "fixed":
            raise RunnerRefusal(
                409, "fixed-price live runner sessions do not accept follow-up payments"
            )
        try:
            paid = await asyncio.to_thread(self.till.read, request.headers)
            if paid.manifest != session.id:
                raise PaymentRefusal(403, "mismatched session and payment manifest")
            return await self._taken(paid)
        except PaymentRefusal as refusal:
            raise RunnerRefusal(refusal.status, str(refusal)) from None

    async def pay_anything(self, request: web.Request) -> web.Response:
        """`POST /payment`, which knows nothing of sessions: raises `RunnerRefusal`."""
        try:
            return await self._taken(await asyncio.to_thread(self.till.read, request.headers))
        except PaymentRefusal as refusal:
            raise RunnerRefusal(refusal.status, str(refusal)) from None

    async def refresh(self, request: web.Request) -> web.Response:
        """`POST /refresh-payment`: the same session and price, new tickets."""
        body = await read_small(request, _MOST_BYTES)
        try:
            asked = json.loads(body or b"")
            if not isinstance(asked, dict):
                raise ValueError
        except (ValueError, RecursionError):
            letter = (body or b"").decode("utf-8", "replace")[:1]
            text = f"invalid character {letter!r} looking for beginning of value"
            return _json(400, {"error": {"message": text}})
        try:
            sender, manifest = str(asked.get("sender", "")), str(asked.get("manifest_id", ""))
            return json_reply(self.till.refreshed(sender, manifest.strip()))
        except PaymentRefusal as refusal:
            return _json(refusal.status, {"error": {"message": str(refusal)}})

    async def _taken(self, paid: Paid) -> web.Response:
        await self.till.take(paid)
        try:
            answer = self.till.result(paid)
        except KeyError:
            raise PaymentRefusal(400, "no price is known for the session") from None
        return reply(200, answer, {"Content-Type": "application/octet-stream"})

    async def _debit(
        self,
        runner: RegisteredRunner,
        session: ReservedSession,
        paid: Paid,
        price: PriceTag,
        released: Callable[[], None] | None,
    ) -> None:
        """Until the session is over, or cannot be paid any longer, which is its end."""
        while True:
            await self.till.chain.sleep(DEBIT_SECONDS)
            if runner.sessions.get(session.id) is not session:
                return
            if self.till.debit(paid, price, DEBIT_SECONDS):
                continue
            logger.info("live runner %s: a session is not paid any longer", ascii(runner.id))
            self._registry.release(runner.route, session.id)
            if released is not None:
                released()
            return


def _json(status: int, told: dict[str, Any]) -> web.Response:
    body = json.dumps(told, separators=(",", ":")).encode()
    return reply(status, body, {"Content-Type": "application/json"})
