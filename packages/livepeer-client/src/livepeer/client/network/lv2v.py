"""The road to classic live-video-to-video: gRPC tells, HTTP starts, the end of the input ends it.

An orchestrator's own AI runner has the models; `live-video-to-video/MODEL` is one. Source:
server/ai_mediaserver.go and rpc.go of go-livepeer, and what it was recorded to answer.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

from livepeer.client.exceptions import (
    InvalidInputError,
    LivepeerError,
    NoOrchestratorError,
    ProtocolError,
    mark_paid,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.grpc import GrpcStatus, unary
from livepeer.client.http.requests import Http
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.network.jobs import RunningJob, Task
from livepeer.client.network.roads import Candidate, post
from livepeer.client.network.selection import Attempt
from livepeer.client.payments.account import Abandoned
from livepeer.client.payments.challenge import Challenge
from livepeer.client.payments.wallet import Wallet
from livepeer.client.protocol.discovery import PERSISTENT
from livepeer.client.protocol.orchestrator import GET_ORCHESTRATOR, offer_request
from livepeer.client.protocol.tickets import ORCHESTRATOR_INFO, SEG_DATA, price_of
from livepeer.client.protocol.wire import PAYMENT, SEGMENT
from livepeer.client.types import SECONDS, Offer

PREFIX: Final = "live-video-to-video/"
START: Final = "/live-video-to-video"
PAYMENT_PATH: Final = "/payment"
OFFER_LIMIT: Final = 5.0
UNIT: Final = "720p-pixel-seconds"
_UNKNOWN: Final = 2
"""gRPC's status of whatever go-livepeer itself has to say."""


def model_of(capability: str) -> str | None:
    """The model that is meant; None where another kind of capability is."""
    return capability.removeprefix(PREFIX) or None if capability.startswith(PREFIX) else None


class LiveVideoToVideo:
    """Offers by `GetOrchestrator`; a start carries the auth token of the offer, and is paid for."""

    name = "lv2v"
    gateway = False

    def __init__(self, trust: TlsPolicy, wallet: Wallet) -> None:
        self._trust, self._wallet = trust, wallet

    async def offer(
        self, http: Http, orchestrator: str, capability: str, deadline: Deadline
    ) -> Offer | None:
        model = model_of(capability)
        if model is None:
            return None
        begun = time.monotonic()
        where: dict[str, Any] = {"orchestrator": orchestrator, "capability": capability}
        try:
            answer = await self._ask(http, orchestrator, model, deadline, where)
        except GrpcStatus as status:
            if status.code == _UNKNOWN and "OrchestratorCapped" in str(status):
                return Offer(orchestrator, capability, 0, latency=time.monotonic() - begun)
            raise NoOrchestratorError(
                f"it does not offer {capability!r}: {status} (gRPC status {status.code})", **where
            ) from None
        try:
            info = ORCHESTRATOR_INFO.decode(answer)
            told = info.get("price_info", {})
            # Off chain there is neither a price nor a ticket.
            price = price_of(told) if told.get("pricePerUnit") else Fraction(0)
        except ValueError as error:
            raise ProtocolError(f"its offer cannot be read: {error}", **where) from None
        if not info.get("auth_token", {}).get("token"):
            raise ProtocolError("its offer has no auth token", **where)
        return Offer(
            orchestrator,
            capability,
            1,
            price,
            time.monotonic() - begun,
            {"info": base64.b64encode(answer).decode()},
            mode=PERSISTENT,
            unit=UNIT if price else SECONDS,
        )

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
        if task.path != START or to.offer is None:
            raise InvalidInputError(
                f"{task.capability!r} is a live stream: call it with live()",
                capability=task.capability,
                orchestrator=to.place,
            )
        params = str(to.offer.token["info"])
        job = task.header(deadline)
        if to.offer.free:
            token = ORCHESTRATOR_INFO.decode_text(params)["auth_token"]
            headers = {PAYMENT: "", SEGMENT: SEG_DATA.encode_text({"auth_token": token})}
            return await post(http, self._trust, task, job, to, headers, deadline, attempts)

        async def renewed(known: Challenge, deadline: Deadline) -> Challenge:
            offer = await self.offer(http, to.place, task.capability, deadline)
            if offer is None or "info" not in offer.token:
                raise NoOrchestratorError("it offers the model no more", orchestrator=to.place)
            return known.with_params(str(offer.token["info"]))

        bill = self._wallet.bill_for(
            http,
            to.place,
            task.capability,
            UNIT,
            to.offer.price,
            task.budget,
            paid,
            renewed=renewed,
        )
        try:
            try:
                bill.account.accept(Challenge.of(params, None, PAYMENT_PATH))
            except ValueError as error:
                raise ProtocolError(f"its offer cannot be paid: {error}", **bill.where) from None
            payment = await bill.account.first(deadline)
            bill.send()
            running = await post(
                http, self._trust, task, job, to, payment.headers, deadline, attempts
            )
            return replace(running, bill=bill)
        except BaseException as error:
            bill.stop()
            if isinstance(error, Abandoned):
                raise LivepeerError("given up before anything was paid", **bill.where) from None
            if isinstance(error, LivepeerError) and bill.sent:
                mark_paid(error, bill.spent)
            raise

    async def _ask(
        self,
        http: Http,
        orchestrator: str,
        model: str,
        deadline: Deadline,
        where: dict[str, Any],
    ) -> bytes:
        limit = Deadline(max(0.001, min(OFFER_LIMIT, deadline.remaining())))
        identity = await self._wallet.signer.identity(http, limit)
        try:
            address, signature = _unhex(identity.address), _unhex(identity.signature)
        except ValueError:
            raise ProtocolError("the signer's address or signature is no hex", **where) from None
        return await unary(
            orchestrator,
            GET_ORCHESTRATOR,
            offer_request(model, address, signature),
            ssl=self._trust.for_peer(),
            deadline=limit,
            where=where,
        )


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
