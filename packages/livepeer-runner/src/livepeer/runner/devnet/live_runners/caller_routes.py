"""What callers ask of the orchestrator: who is there, a place, and to be passed on."""

from __future__ import annotations

import base64
import binascii
import contextlib
from typing import Any

from aiohttp import web

from livepeer.runner.devnet.go_http import json_reply, reply
from livepeer.runner.devnet.live_runners.announcement import PERSISTENT, SINGLE_SHOT
from livepeer.runner.devnet.live_runners.paid import PaidSessions
from livepeer.runner.devnet.live_runners.proxy import RunnerProxy
from livepeer.runner.devnet.live_runners.records import (
    RegisteredRunner,
    ReservedSession,
    public_url,
)
from livepeer.runner.devnet.live_runners.registry import RunnerRegistry
from livepeer.runner.devnet.live_runners.states import Ask, RunnerRefusal
from livepeer.runner.devnet.urls import (
    BadURL,
    GoURL,
    escape_path,
    escaped_again,
    join_names,
    parse_http_url,
    unescaped,
)

_NO_CONTENT = 204


class CallerRoutes:
    """The routes for callers. They raise `RunnerRefusal`."""

    def __init__(
        self, registry: RunnerRegistry, proxy: RunnerProxy, paid: PaidSessions | None
    ) -> None:
        """`paid`: sessions cost money; None where they are free."""
        self._registry = registry
        self._proxy = proxy
        self._paid = paid

    def discover(self) -> web.StreamResponse:
        """Who can be called now, and what each has free."""
        address = self._registry.address
        runners = [
            each.listed(address) | self._price(each) for each in self._registry if each.is_listed
        ]
        entry: dict[str, Any] = {"address": address}
        return json_reply([{**entry, "runners": runners} if runners else entry])

    def _price(self, runner: RegisteredRunner) -> dict[str, Any]:
        """What the discovery says of it; nothing offchain, nor of one that is below a wei."""
        if self._paid is None:
            return {}
        try:
            price = self._paid.price(runner)
        except RunnerRefusal:
            return {}
        return {"price_info": {"price": price.wei, "currency": "wei", "unit": price.unit}}

    async def reserve(self, request: web.Request, route: str) -> web.StreamResponse:
        """A place at a persistent runner, and the URLs of its session."""
        runner = self._registry.find(route, Ask.RESERVE)
        if runner.says.mode != PERSISTENT:
            raise RunnerRefusal(400, "only persistent runners have sessions")
        if self._paid is None:
            session = self._registry.reserve(route)
        elif not self._paid.till.is_paid(request.headers):
            return self._paid.ask(request, runner)
        else:
            session = await self._paid.reserve(request, runner)
        app_url = self._url("apps", route, "session", session.id, "app")
        if runner.says.proxy:
            proxy_id = self._registry.open_proxy(runner, session, "")
            app_url = public_url(self._registry.address, proxy_id)
        control_url = self._url("apps", route, "session", session.id)
        told = {"session_id": session.id, "app_url": app_url, "control_url": control_url}
        return json_reply(told)

    def stop(self, route: str, session_id: str) -> web.StreamResponse:
        """Gives a place back; 204 for an unknown session too."""
        self._registry.release(route, session_id)
        return reply(_NO_CONTENT)

    async def pay(self, request: web.Request, route: str, session_id: str) -> web.StreamResponse:
        """A payment for a session. Offchain nothing can be paid: what go-livepeer says of each
        try."""
        runner, session = self._registry.session(route, session_id)
        if self._paid is not None:
            return await self._paid.pay(request, session)
        if runner.says.price_info.unit.strip().lower() == "fixed":
            raise RunnerRefusal(
                409, "fixed-price live runner sessions do not accept follow-up payments"
            )
        payment = request.headers.get("Livepeer-Payment", "")
        try:
            base64.b64decode(payment, validate=True)
        except (ValueError, binascii.Error):
            bad = next((i for i, letter in enumerate(payment) if not _is_base64(letter)), None)
            at = bad if bad is not None else len(payment) // 4 * 4
            raise RunnerRefusal(
                402, f"base64 decode error: illegal base64 data at input byte {at}"
            ) from None
        raise RunnerRefusal(403, "missing auth token")

    async def single_shot(self, request: web.Request, route: str, name: str) -> web.StreamResponse:
        """A session for one request: its place is free again when the request is over."""
        runner = self._registry.find(route, Ask.RESERVE)
        if runner.says.mode != SINGLE_SHOT:
            raise RunnerRefusal(400, "runner is not single-shot")
        if self._paid is None:
            session = self._registry.reserve(route)
        elif not self._paid.till.is_paid(request.headers):
            return self._paid.ask(request, runner)
        else:
            session = await self._paid.reserve(request, runner, lambda: _cut(request))
        try:
            return await self._call(request, runner, session, runner.says.url, name)
        finally:
            with contextlib.suppress(RunnerRefusal):
                self._registry.release(route, session.id)

    async def public(
        self, request: web.Request, proxy_id: str, name: str
    ) -> web.StreamResponse | str:
        """A request to a public proxy: its answer, or the path behind it (of a single-shot
        runner), escaped."""
        if (found := self._registry.proxied(proxy_id)) is not None:
            runner, session, target = found
            return await self._call(request, runner, session, parse_http_url(target), name)
        if not self._registry.is_public(proxy_id):
            raise RunnerRefusal(404, "live runner proxy not found")
        try:
            return escaped_again(join_names("apps", proxy_id, "app", name))
        except BadURL as bad:
            raise RunnerRefusal(502, str(bad)) from None

    async def call(
        self, request: web.Request, route: str, session_id: str, name: str
    ) -> web.StreamResponse:
        """A request of a session, below its app."""
        runner, session = self._registry.session(route, session_id)
        return await self._call(request, runner, session, runner.says.url, name)

    async def _call(
        self,
        request: web.Request,
        runner: RegisteredRunner,
        session: ReservedSession,
        base: GoURL,
        name: str,
    ) -> web.StreamResponse:
        try:
            # The reference takes the escaped path that it has joined for one that is not.
            path = escaped_again(join_names(base.path, name))
        except BadURL as bad:
            raise RunnerRefusal(502, str(bad)) from None
        query = request.raw_path.partition("?")[1:]
        url = GoURL(base.scheme, base.host, path + "".join(query))
        control = f"/runner/{runner.route}/session/{session.id}"
        added = {
            "Livepeer-Runner-Route": runner.route,
            "Livepeer-Session-Id": session.id,
            "Livepeer-Session-Token": session.token,
            "Livepeer-Session-Control": self._registry.runner_address + escape_path(control),
        }
        return await self._proxy.pass_on(request, url, added)

    def _url(self, *names: str) -> str:
        return self._registry.address + escape_path("/" + "/".join(names))


def _cut(request: web.Request) -> None:
    """What is not paid any longer ends without its last chunk."""
    if request.transport is not None:
        request.transport.abort()


def public_request(request: web.Request, address: str) -> tuple[str, str] | None:
    """The id and the app's path of a request to a public proxy; None for any other."""
    path = unescaped(request.raw_path.partition("?")[0])
    host = address.partition("://")[2]
    if not path.startswith("/run/") or request.headers.get("Host", "").lower() != host.lower():
        return None
    proxy_id, _, name = path.removeprefix("/run/").partition("/")
    return (proxy_id, name) if proxy_id else None


def _is_base64(letter: str) -> bool:
    return letter.isascii() and (letter.isalnum() or letter in "+/=")
