"""Finding orchestrators that have room, and calling them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.byoc.envelope import JobRefused
from livepeer.runner.devnet.gateway.orders import GatewayOrder, OffchainWallet, OrderParameters
from livepeer.runner.devnet.upstream import (
    AnswerBrokeOff,
    UpstreamAnswer,
    UpstreamClient,
    UpstreamUnreachable,
)
from livepeer.runner.devnet.urls import BadURL, parse_url

_LOOK = 5.0
"""Seconds a gateway waits for a token while it looks, and when it needs a new one. The reference
looks for half a second, in which an orchestrator on a busy machine may not have answered."""
_RENEW = 5.0
_RENEWALS = 3
_GRACE = 5
"""An orchestrator gets this much longer (seconds) than the caller's own limit."""


class NoToken(Exception):
    """An orchestrator gave no token."""


@dataclass(frozen=True)
class JobToken:
    """An orchestrator that may be asked: where it is, who is paid there, and what is free."""

    url: str
    recipient: str
    available: int


class Orchestrators:
    """The orchestrators that a gateway knows."""

    def __init__(
        self, urls: Sequence[str], wallet: OffchainWallet, upstream: UpstreamClient
    ) -> None:
        self._urls = tuple(urls)
        self._wallet = wallet
        self._upstream = upstream

    async def find(self, capability: str, parameters: OrderParameters) -> list[JobToken]:
        """Those with a free place, in the order of their answers; raises `JobRefused` for none."""
        urls = [url for url in self._urls if parameters.wants(url)]
        asked = [
            asyncio.create_task(self._ask(url, capability, _LOOK))
            for url in random.sample(urls, len(urls))
        ]
        found = []
        try:
            for answer in asyncio.as_completed(asked):
                with contextlib.suppress(NoToken):
                    token = await answer
                    if token.available > 0:
                        found.append(token)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        if not found:
            raise JobRefused(f"No orchestrators found for capability {capability}")
        return found

    async def token(self, url: str, capability: str) -> JobToken:
        """A new token of one orchestrator, full or not; raises `NoToken`."""
        pause = 0.1
        for _ in range(_RENEWALS - 1):
            try:
                return await self._ask(url, capability, _RENEW)
            except NoToken:
                await asyncio.sleep(pause)
                pause *= 2
        return await self._ask(url, capability, _RENEW)

    async def send(
        self, token: JobToken, path: str, order: GatewayOrder, body: bytes, content_type: str
    ) -> UpstreamAnswer:
        """Posts a job to an orchestrator; raises `UpstreamUnreachable`."""
        try:
            url = parse_url(token.url + path)
        except BadURL as bad:
            raise UpstreamUnreachable(str(bad)) from None
        headers = {"Content-Type": content_type, "Livepeer": order.signed(self._wallet)}
        return await self._upstream.post(url, body, headers, order.timeout + _GRACE)

    async def call(
        self, url: str, path: str, order: GatewayOrder, body: bytes, content_type: str
    ) -> tuple[int, bytes]:
        """Posts with a new token and reads the answer; raises `NoToken` or
        `UpstreamUnreachable`."""
        token = await self.token(url, order.capability)
        answer = await self.send(token, path, order, body, content_type)
        try:
            return answer.status, await answer.read()
        except AnswerBrokeOff as broken:
            raise UpstreamUnreachable(str(broken)) from None
        finally:
            answer.close()

    async def _ask(self, url: str, capability: str, limit: float) -> JobToken:
        headers = {
            "Livepeer-Capability": capability,
            "Livepeer-Eth-Address": self._wallet.sender(),
        }
        try:
            async with asyncio.timeout(limit):
                answer = await self._upstream.get(parse_url(f"{url}/process/token"), headers, limit)
                try:
                    body = await answer.read()
                finally:
                    answer.close()
        except (UpstreamUnreachable, AnswerBrokeOff, BadURL, TimeoutError) as failure:
            raise NoToken(str(failure)) from None
        if answer.status != 200:
            raise NoToken("failed to get token from Orchestrator")
        try:
            return _token(go_json.parse(body))
        except (go_json.GoJSONError, ValueError) as bad:
            raise NoToken(str(bad)) from None


def _token(value: Any) -> JobToken:
    fields = go_json.decode(
        value, {"service_addr": "string", "available_capacity": "int64"}, "JobToken"
    )
    ticket = value.get("ticket_params") if isinstance(value, dict) else None
    recipient = ticket.get("recipient") if isinstance(ticket, dict) else None
    # Offchain there is none, and go-livepeer's gateway ends itself over it. This one goes on.
    address = base64.b64decode(recipient) if isinstance(recipient, str) else bytes(20)
    return JobToken(
        url=fields.get("service_addr", ""),
        recipient="0x" + address.hex(),
        available=fields.get("available_capacity", 0),
    )
