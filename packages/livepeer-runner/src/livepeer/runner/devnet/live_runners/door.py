"""The live runners of one orchestrator: composes the parts and owns their lifetime."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.go_http import error, only, redirect, reply
from livepeer.runner.devnet.live_runners.caller_routes import CallerRoutes, public_request
from livepeer.runner.devnet.live_runners.channels import RunnerChannels
from livepeer.runner.devnet.live_runners.paid import PaidSessions
from livepeer.runner.devnet.live_runners.proxy import RunnerProxy
from livepeer.runner.devnet.live_runners.registry import RunnerRegistry
from livepeer.runner.devnet.live_runners.runner_routes import RunnerRoutes
from livepeer.runner.devnet.live_runners.states import RunnerRefusal
from livepeer.runner.devnet.live_runners.static import StaticRunners
from livepeer.runner.devnet.payments.till import Till
from livepeer.runner.devnet.urls import (
    clean_path,
    escape_path,
    escaped_again,
    has_broken_escape,
    unescaped,
)

_PAID = ("/payment", "/refresh-payment")
_ROOTS = ("runners", "runner", "apps", "discovery")


class LiveRunnerDoor:
    """Everything of an orchestrator that has to do with live runners; see `live_runners`."""

    def __init__(
        self,
        registry: RunnerRegistry,
        runners: RunnerRoutes,
        callers: CallerRoutes,
        static: StaticRunners,
        paid: PaidSessions | None,
    ) -> None:
        self.registry = registry
        self.static = static
        self._runners = runners
        self._callers = callers
        self._paid = paid
        self.till = paid.till if paid is not None else None

    @staticmethod
    def takes(path: str, *, paid: bool) -> bool:
        """Whether a clean path is one of this door's, if there is one."""
        names = path.split("/", 2)
        return len(names) > 1 and (names[1] in _ROOTS or (paid and path in _PAID))

    async def public(self, request: web.Request) -> web.StreamResponse | None:
        """A request to a public proxy, which goes before everything else; None for another."""
        if not request.raw_path.startswith(("/r", "/%")):
            return None
        if has_broken_escape(request.raw_path.partition("?")[0]):
            return _bad_request()
        wanted = public_request(request, self.registry.address)
        if wanted is None:
            return None
        try:
            answer = await self._callers.public(request, *wanted)
        except RunnerRefusal as refusal:
            return error(refusal.status, str(refusal))
        if not isinstance(answer, str):
            return answer
        if _is_bare_app(answer):
            return redirect(request, answer + "/")
        return await self._routed(request, answer)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any request that `takes` says is for here."""
        path = request.raw_path.partition("?")[0]
        if has_broken_escape(path):
            return _bad_request()
        path = escape_path(path)
        cleaned = clean_path(path)
        if _is_bare_app(cleaned):
            return redirect(request, cleaned + "/")
        if cleaned != path:
            # Go's router takes the escaped path for one that is not.
            return redirect(request, escaped_again(cleaned))
        return await self._routed(request, path)

    async def _routed(self, request: web.Request, path: str) -> web.StreamResponse:
        try:
            return await self._route(request, path)
        except RunnerRefusal as refusal:
            return error(refusal.status, str(refusal))
        except go_json.GoJSONError as bad:
            return error(400, str(bad))

    async def _route(self, request: web.Request, path: str) -> web.StreamResponse:
        raw = path.split("/")[1:]
        match [unquote(name) for name in raw]:
            case ["discovery"]:
                return only(request, "GET", "HEAD") or self._callers.discover()
            case ["payment"] if self._paid is not None:
                return only(request, "POST") or await self._paid.pay_anything(request)
            case ["refresh-payment"] if self._paid is not None:
                return only(request, "POST") or await self._paid.refresh(request)
            case ["runners", "heartbeat"]:
                return only(request, "POST") or await self._runners.heartbeat(request)
            case ["runners", route, "unregister"]:
                return only(request, "POST") or self._runners.unregister(request, route)
            case ["runner", route, "session", session_id, what]:
                return await self._of_session(request, route, session_id, what)
            case ["apps", route, "session"]:
                return only(request, "POST") or await self._callers.reserve(request, route)
            case ["apps", route, "session", session_id, "stop"]:
                return only(request, "POST") or self._callers.stop(route, session_id)
            case ["apps", route, "session", session_id, "payment"]:
                return only(request, "POST") or await self._callers.pay(request, route, session_id)
            case ["apps", route, "session", session_id, "app", *_]:
                name = unescaped("/".join(raw[5:]))
                return await self._callers.call(request, route, session_id, name)
            case ["apps", route, "app", *_]:
                name = unescaped("/".join(raw[3:]))
                return await self._callers.single_shot(request, route, name)
        return error(404, "404 page not found")

    async def _of_session(
        self, request: web.Request, route: str, session_id: str, what: str
    ) -> web.StreamResponse:
        match what:
            case "channels":
                refused = only(request, "DELETE", "POST")
                return refused or await self._runners.channels(request, route, session_id)
            case "proxy":
                refused = only(request, "POST")
                return refused or await self._runners.open_proxy(request, route, session_id)
            case "stop":
                return only(request, "POST") or self._runners.stop(request, route, session_id)
        return error(404, "404 page not found")


def _is_bare_app(path: str) -> bool:
    """Whether it is an app without the slash that everything below it needs."""
    match path.split("/")[1:]:
        case ["apps", _, "session", _, "app"] | ["apps", _, "app"]:
            return True
    return False


def _bad_request() -> web.Response:
    """What Go's server says of a request line that it cannot read."""
    response = reply(400, b"400 Bad Request", {"Content-Type": "text/plain; charset=utf-8"})
    response.force_close()
    return response


@contextlib.asynccontextmanager
async def live_runner_door(
    registry: RunnerRegistry,
    channels: RunnerChannels,
    static: StaticRunners,
    interval: float,
    till: Till | None,
) -> AsyncIterator[LiveRunnerDoor]:
    """The door with its watches, as long as the block lasts."""
    async with RunnerProxy() as proxy, _running(_sweep(registry, interval), static.watch()):
        paid = PaidSessions(registry, till) if till is not None else None
        callers = CallerRoutes(registry, proxy, paid)
        runners = RunnerRoutes(registry, interval)
        try:
            yield LiveRunnerDoor(registry, runners, callers, static, paid)
        finally:
            channels.aclose()
            if paid is not None:
                await paid.aclose()


async def _sweep(registry: RunnerRegistry, interval: float) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due = max(due + interval, loop.time())  # a ticker: what is late does not add up
        await asyncio.sleep(due - loop.time())
        registry.sweep()


@contextlib.asynccontextmanager
async def _running(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(loop, name="devnet-live-runners") for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
