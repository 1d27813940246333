"""Requests to an app, and its session's begin and end. Nothing here is kept open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from livepeer.client.apps.request import AppRequest, target
from livepeer.client.exceptions import (
    ConnectionFailedError,
    LivepeerError,
    NoCapacityError,
    NoOrchestratorError,
    ProtocolError,
    SessionEndedError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.pools import Pools
from livepeer.client.http.requests import SMALL, read
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.network.dispatch import Dispatcher
from livepeer.client.network.jobs import check_capability
from livepeer.client.payments.bill import Bill
from livepeer.client.payments.budget import Budget
from livepeer.client.payments.exchange import answered, opening
from livepeer.client.payments.signer import SignedPayment
from livepeer.client.protocol.discovery import OpenApp
from livepeer.client.protocol.results import media_type
from livepeer.trickle.http.call import Body, HTTPCall
from livepeer.trickle.types import TLS

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

_REFUSAL_LENGTH: Final = 200
"""Bytes of an orchestrator's own refusals, which are one line of text."""
_OVER: Final = "runner session not found"
_HIDDEN: Final = "runner not found"
"""Also of one that says for a while that it is not ready; its sessions live on."""
_NOT_REACHED: Final = "dial tcp "
"""Nothing of the request has left; the session lives on, as the entry of a dead runner does."""
_LENGTH: Final = "content-length"
_FULL: Final = "no capacity available for runner"
DELETE_LIMIT: Final = 5.0


class AppCalls:
    """Opens apps, sends requests to them and releases their sessions."""

    def __init__(
        self, dispatcher: Dispatcher, pools: Pools, trust: TlsPolicy, budget: Budget
    ) -> None:
        self._dispatcher, self._pools, self._trust = dispatcher, pools, trust
        self.budget = budget
        """What the session may spend, and has."""

    @property
    def tls(self) -> TLS:
        """For the channels of a session."""
        return self._trust.for_peer()

    async def open(self, app: str, deadline: Deadline) -> OpenApp:
        """An app; a session that it needs is released at the end of the loop at the latest."""
        check_capability(app)
        http = await self._pools.current()
        opened = await self._dispatcher.open(http, app, deadline, self.budget)
        if opened.reserved is not None:
            work = partial(self._dispatcher.release, http, opened.place, opened.reserved)
            http.farewells.owe(opened.reserved, work)
        return opened

    def paid_by(self, opened: OpenApp) -> Bill | None:
        """What its session is paid by; None where it has none, or is free."""
        if opened.reserved is None:
            return None
        return self._dispatcher.paid_by(opened.reserved)

    async def bill(self, opened: OpenApp) -> Bill | None:
        """What one request is paid by that is a session by itself; None where it is free."""
        return self._dispatcher.bill(await self._pools.current(), opened, self.budget)

    async def send(
        self, opened: OpenApp, request: AppRequest, deadline: Deadline, bill: Bill | None = None
    ) -> tuple[HTTPCall, bytes | None]:
        """The app's answer, its headers there; with its body where that had to be read.

        `bill` pays for it beside its answer, and is the caller's to end.

        Raises `SessionEndedError`, `NoCapacityError` or `NoOrchestratorError` for what is no answer
        of the app but of its orchestrator.
        """
        http = await self._pools.current()
        where = named(opened)

        bare = {name: told for name, told in request.headers.items() if name.lower() != _LENGTH}

        async def sent(more: Mapping[str, str], body: Body | None = request.body) -> HTTPCall:
            return await http.open(
                request.method,
                exact(opened, request.target),
                ssl=self._trust.for_peer(),
                deadline=deadline,
                headers={**(request.headers if body is request.body else bare), **more},
                body=body,
                job=True,
                where=where,
            )

        # What can be sent once only goes out when it is paid for.
        once = not isinstance(request.body, bytes | None)
        ask = partial(sent, body=None) if once else None
        response = await answered(bill, sent, deadline, ask)
        length = response.content_length
        plain = media_type(response.headers) == "text/plain"
        if (
            response.status not in (404, 502, 503)
            or not plain
            or (length or SMALL) > _REFUSAL_LENGTH
        ):
            return response, None
        body = await read(response, deadline, limit=SMALL, job=True, where=where)
        if (
            error := self._refusal(opened, response.status, body.decode("utf-8", "replace"))
        ) is not None:
            raise error
        return response, body

    async def websocket(
        self,
        opened: OpenApp,
        path: str,
        deadline: Deadline,
        *,
        headers: Mapping[str, str] | None,
        protocols: Sequence[str],
        limit: int,
        bill: Bill | None = None,
    ) -> ClientWebSocketResponse:
        http = await self._pools.current()
        sent = dict(headers or {})
        if bill is not None:

            async def ask(more: Mapping[str, str]) -> HTTPCall:
                url = exact(opened, target(path))
                return await http.open(
                    "GET",
                    url,
                    ssl=self._trust.for_peer(),
                    deadline=deadline,
                    headers=more,
                    job=True,
                    where=named(opened),
                )

            payment = await opening(bill, ask, deadline)
            assert isinstance(payment, SignedPayment)
            bill.send()
            bill.start()
            sent |= payment.headers
        try:
            return await http.websockets.open(
                exact(opened, target(path)),
                ssl=self._trust.for_peer(),
                deadline=deadline,
                headers=sent,
                protocols=protocols,
                limit=limit,
                where=named(opened),
            )
        except ProtocolError as error:
            if error.status == 503 and opened.reserved is None:
                self._dispatcher.failed(opened)
                raise NoCapacityError(
                    f"no room for {opened.app!r}: no place for a WebSocket is free",
                    status=503,
                    **named(opened),
                ) from error
            raise

    async def delete(self, opened: OpenApp, url: str) -> None:
        """End a channel; one that is gone already is no error."""
        http = await self._pools.current()
        reply = await http.fetch(
            "DELETE",
            url,
            ssl=self._trust.for_peer(),
            deadline=Deadline(DELETE_LIMIT),
            where=named(opened),
        )
        if reply.status >= 300 and reply.status not in (400, 404):
            told = f"the channel could not be deleted: answered {reply.status}"
            raise ConnectionFailedError(told, status=reply.status, **named(opened))

    async def release(self, opened: OpenApp) -> None:
        """Give its session back; the orchestrator is told also where whoever waits is cancelled."""
        http = self._pools.here()
        if http is not None and (said := http.farewells.pay(opened.reserved)) is not None:
            await asyncio.shield(said)

    def say(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do what is to be done on this loop although nobody waits for it."""
        if (http := self._pools.here()) is not None:
            http.farewells.say(work)

    def let_go(self, opened: OpenApp, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """`release` for a session that was dropped, on its loop; `close` what is open in it."""
        if (http := self._pools.here()) is not None:
            http.farewells.say(close)
            http.farewells.pay(opened.reserved)

    def _refusal(self, opened: OpenApp, status: int, text: str) -> LivepeerError | None:
        """What the orchestrator says in place of the app; None where it is the app that speaks."""
        text = text.strip()
        if status == 404 and text == _OVER:
            told = f"the session is over: {text} (the app ended it, or is gone)"
            return SessionEndedError(told, status=404, **named(opened))
        if status == 404 and text == _HIDDEN:
            self._dispatcher.failed(opened)
            told = f"the runner of {opened.app!r} is gone, or not ready: {text}"
            return NoOrchestratorError(told, status=404, passing=True, **named(opened))
        if status == 502 and text.startswith(_NOT_REACHED):
            self._dispatcher.failed(opened)
            told = f"the runner of {opened.app!r} cannot be reached: {text}"
            return NoOrchestratorError(told, status=502, passing=True, **named(opened))
        if status == 503 and text == _FULL:
            self._dispatcher.failed(opened)
            return NoCapacityError(
                f"no room for {opened.app!r}: {text}", status=503, **named(opened)
            )
        return None


def exact(opened: OpenApp, target: str) -> str:
    """An address whose escapes stay as they are: the app is to see what its caller wrote."""
    return f"{opened.place}{opened.path}/{target}"


def named(opened: OpenApp) -> dict[str, Any]:
    """What errors may name of it."""
    return {"capability": opened.app, "orchestrator": opened.place}
