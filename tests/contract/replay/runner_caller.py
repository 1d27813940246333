"""Replayer 3 for live runners: what our client asks of an orchestrator, and what it makes of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

from livepeer.client import (
    LivepeerError,
    NoCapacityError,
    NoOrchestratorError,
    ProtocolError,
    SessionEndedError,
)
from livepeer.client.apps.calls import AppCalls
from livepeer.client.apps.request import AppRequest
from livepeer.client.apps.response import AppStream
from livepeer.client.config import Config
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.pools import Pools
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.network.dispatch import Dispatcher
from livepeer.client.network.live_runner import LiveRunners
from livepeer.client.network.reservations import Reservations
from livepeer.client.network.roads import Candidate
from livepeer.client.network.runner_lists import RunnerLists
from livepeer.client.payments.budget import Budget
from livepeer.client.payments.signer import Unsigned
from livepeer.client.payments.wallet import Wallet
from livepeer.client.protocol.discovery import OpenApp, ReservedPlace, RunnerEntry

from .http1 import LAST_CHUNK, chunk, head
from .scripted import Exchange, ScriptedServer
from .transcript import Mismatch, Scenario, Step
from .values import Values, compact_json

LIMIT = 20.0
CALLERS = ("c", "d")
_RESERVE = re.compile(r"/apps/[^/]+/session")
_STOP = re.compile(r"(/apps/[^/]+/session/[^/]+)/stop")
_APP = re.compile(r"(/apps/[^/]+/session/[^/]+/app|/apps/[^/]+/app|/run/[^/]+)/(.*)")
_REFUSALS = {
    "runner session not found": SessionEndedError,
    "runner not found": NoOrchestratorError,
    "dial tcp": NoOrchestratorError,
    "no capacity available for runner": NoCapacityError,
}


async def replay(scenario: Scenario, server: ScriptedServer) -> list[str | None]:
    """Play one scenario: for each request of a caller None, or why our client never sends it.
    Raises `Mismatch`."""
    values = Values({})
    values.known = _AnyName()
    played: list[str | None] = []
    pools = Pools()
    callers: dict[str, _Call] = {}
    try:
        client = _Client(server, pools)
        for step in scenario.steps:
            name = step.get("caller")
            if name not in CALLERS:
                continue
            sent = step.get("send", {})
            if "method" in sent:
                if name in callers:
                    await callers.pop(name).check()
                path = values.text(sent["path"])
                played.append(foreign := foreign_to_us(sent, path))
                if foreign is None:
                    pieces = [sent, *_rest(scenario.steps, step)]
                    callers[name] = await client.begin(sent, path, values, pieces)
            elif name in callers and "receives" in step:
                await callers[name].answer(step["receives"], values)
            elif name in callers and step.get("drop"):
                await callers.pop(name).leave()
        while callers:
            await callers.popitem()[1].check()
    finally:
        for call in callers.values():
            await call.leave()
        await pools.aclose()
    return played


class _AnyName(dict[str, str]):
    """A variable that no step has given a value yet has its own name as its value."""

    def __missing__(self, name: str) -> str:
        return name


def _rest(steps: list[Step], step: Step) -> list[Step]:
    """Further pieces of the body that this step begins."""
    if step["send"].get("finish", True):
        return []
    for each in steps[steps.index(step) + 1 :]:
        if each.get("caller") == step["caller"] and "send" in each:
            return [each["send"]]
    return []


def foreign_to_us(sent: Step, path: str) -> str | None:
    """Why our client never sends this request, or None for one that it does."""
    method = sent["method"]
    if path.startswith("/ai/trickle/"):
        return "a channel, which livepeer.trickle asks for (its own transcripts)"
    if "/unregister" in path:
        return "a runner's request"
    if path.endswith("/payment"):
        return "a payment, which this version cannot make"
    if path.startswith("/discovery"):
        return None if (method, path) == ("GET", "/discovery") else "another method, or a query"
    if _RESERVE.fullmatch(path):
        if "body" in sent:
            return "a reservation with a body, which nobody reads"
        return None if method == "POST" else "another method"
    if _STOP.fullmatch(path):
        return None if method == "POST" else "another method"
    match = _APP.fullmatch(path)
    if match is None or match[2].startswith("/"):
        return "an app's path without its slash, or with two: a redirect, which is not followed"
    return None


class _Client:
    """Our client's parts, at the scripted server."""

    def __init__(self, server: ScriptedServer, pools: Pools) -> None:
        self._server, self._pools = server, pools
        self._base = f"http://{server.address}"
        config = Config.resolve(orch_url=self._base, max_retries=0, environ={})
        self._trust = TlsPolicy(config.tls)
        self._wallet = Wallet(config, self._trust, Unsigned())
        dispatcher = Dispatcher(config, self._trust, self._wallet)
        self._calls = AppCalls(dispatcher, pools, self._trust, Budget())
        self._reservations = Reservations(self._trust)

    async def begin(self, sent: Step, path: str, values: Values, pieces: list[Step]) -> _Call:
        body = b"".join(
            values.body(each.get("body")) + b"".join(map(values.body, each.get("pieces", [])))
            for each in pieces
        )
        task = asyncio.create_task(self._ask(sent, path, values, body))
        try:
            exchange = await self._server.next_request(LIMIT)
        except Mismatch:
            task.cancel()
            raise
        call = _Call(task, exchange, path)
        try:
            self._check(sent, path, body, exchange)
        except Mismatch:
            await call.leave()
            raise
        return call

    def _check(self, sent: Step, path: str, body: bytes, exchange: Exchange) -> None:
        request = exchange.request
        if request.start_line != f"{sent['method']} {path} HTTP/1.1":
            raise Mismatch(f"{sent['method']} {path} was sent as {request.start_line!r}")
        if bytes(request.body) != body:
            raise Mismatch(f"the body of {path} is {bytes(request.body)!r}")

    async def _ask(self, sent: Step, path: str, values: Values, body: bytes) -> Any:
        deadline = Deadline(LIMIT)
        http = await self._pools.current()
        if path == "/discovery":
            return await RunnerLists(self._trust).get(http, self._base, deadline)
        if _RESERVE.fullmatch(path):
            to = Candidate(self._base, LiveRunners(self._trust, self._wallet))
            entry = RunnerEntry("app", "persistent", path, 1)
            return await self._reservations.reserve(http, entry, "app", to, deadline)
        if match := _STOP.fullmatch(path):
            place = ReservedPlace(f"{match[1]}/app", match[1])
            return await self._reservations.release(http, self._base, place)
        match = _APP.fullmatch(path)
        assert match is not None
        place = ReservedPlace(match[1], match[1].removesuffix("/app"))
        in_session = "/session/" in match[1] or path.startswith("/run/proxy_id")
        opened = OpenApp(
            self._base,
            "app",
            "persistent" if in_session else "single-shot",
            match[1],
            match[1],
            place if in_session else None,
        )
        headers = dict(values.headers(sent["headers"]))
        if "Sec-WebSocket-Key" in headers:
            return await self._websocket(opened, match[2], deadline)
        data: Any = _in_pieces(body) if sent.get("framing") else body if "body" in sent else None
        for hop in ("Connection", "Keep-Alive", "TE"):
            headers.pop(hop, None)  # of our own connection
        request = await AppRequest.make(sent["method"], match[2], data=data, headers=headers)
        response, begun = await self._calls.send(opened, request, deadline)
        stream = AppStream(response, {}, LIMIT, lambda _: None, begun)
        received = [chunk async for chunk in stream]
        return (response.status, response.headers, b"".join(received))

    async def _websocket(self, opened: OpenApp, path: str, deadline: Deadline) -> Any:
        ws = await self._calls.websocket(
            opened, path, deadline, headers=None, protocols=(), limit=1000
        )
        message = await ws.receive()
        await ws.close()
        return ("websocket", message.type.name)


async def _in_pieces(body: bytes) -> AsyncIterator[bytes]:
    yield body[: len(body) // 2]
    yield body[len(body) // 2 :]


class _Call:
    """One request of the client, and the answer that it is given."""

    def __init__(self, task: asyncio.Task[Any], exchange: Exchange, path: str) -> None:
        self._task, self._exchange, self._path = task, exchange, path
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body = b""
        self._ended = False
        self._chunked = False

    async def answer(self, receives: dict[str, Any], values: Values) -> None:
        connection = self._exchange.connection
        if "json" in receives:
            body = compact_json(values.expand(receives["json"]))
        else:
            body = values.body(receives.get("body"))
        data = b""
        if "status" in receives:
            self._status = receives["status"]
            for name, value in receives["headers"].items():
                right = str(len(body)) if value == "${length}" else values.text(value)
                self._headers[name] = right
            self._chunked = self._headers.get("Transfer-Encoding") == "chunked"
            if self._status == 101:
                self._headers["Sec-Websocket-Accept"] = self._accept()
            elif "Content-Length" in self._headers:
                # Where a variable stands for itself, the recorded length is another one.
                self._headers["Content-Length"] = str(len(body))
            data = head(f"HTTP/1.1 {self._status} Recorded", list(self._headers.items()))
        self._body += body
        data += chunk(body) if self._chunked else body
        self._ended = receives.get("ended", False)
        if self._ended and self._chunked:
            data += LAST_CHUNK
        await connection.write(data)
        if receives.get("closed"):
            connection.close()
        if self._ended or receives.get("closed"):
            self._exchange.answered.set()

    def _accept(self) -> str:
        key = self._exchange.request.header("sec-websocket-key") or ""
        digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        return base64.b64encode(digest).decode()

    async def leave(self) -> None:
        """Its caller leaves: the connection has to end."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        async with asyncio.timeout(LIMIT):
            await self._exchange.connection.closed.wait()
        self._exchange.answered.set()

    async def check(self) -> None:
        try:
            async with asyncio.timeout(LIMIT):
                result = await self._task
        except LivepeerError as error:
            result = error
        except TimeoutError:
            raise Mismatch(f"{self._path}: the client did not come to an end") from None
        if self._path == "/discovery":
            self._check_discovery(result)
        elif _RESERVE.fullmatch(self._path):
            self._check_reservation(result)
        elif _STOP.fullmatch(self._path):
            if result is not None:
                raise Mismatch(f"a stop gave {result!r}")
        elif self._status == 101:
            if result != ("websocket", "ERROR"):  # the recorded bytes are no frames
                raise Mismatch(f"a WebSocket gave {result!r}")
        else:
            self._check_answer(result)

    def _check_discovery(self, result: Any) -> None:
        told = [each for place in json.loads(self._body) for each in place.get("runners", [])]
        wanted = [(each["app"], each["mode"], each["capacity_available"]) for each in told]
        if [(each.app, each.mode, each.free) for each in result] != wanted:
            raise Mismatch(f"the runners are {wanted}, and the client found {result!r}")
        for each, entry in zip(result, told, strict=True):
            if not entry["url"].endswith(each.path) or dict(each.told) != entry:
                raise Mismatch(f"{entry} became {each!r}")

    def _check_reservation(self, result: Any) -> None:
        if self._status != 200:
            if not isinstance(result, LivepeerError) or result.status != self._status:
                raise Mismatch(f"answered {self._status}, and the client made {result!r} of it")
            if result.may_have_run:
                raise Mismatch(f"nothing has run of {result!r}")
            return
        told = json.loads(self._body)
        place = isinstance(result, ReservedPlace) and result
        if not place or not told["app_url"].endswith(place.app):
            raise Mismatch(f"{told} became {result!r}")
        if not told["control_url"].endswith(place.control):
            raise Mismatch(f"{told} became {result!r}")

    def _check_answer(self, result: Any) -> None:
        text = self._body.decode("utf-8", "replace").strip()
        refusal = _REFUSALS.get("dial tcp" if text.startswith("dial tcp ") else text)
        if refusal is not None and self._status in (404, 502, 503):
            if not isinstance(result, refusal) or result.status != self._status:
                raise Mismatch(f"{self._status} {text!r} became {result!r}")
            return
        if not self._ended:
            if not isinstance(result, LivepeerError) or isinstance(result, ProtocolError):
                raise Mismatch(f"no whole answer came, and the client made {result!r} of it")
            return
        if not isinstance(result, tuple) or (result[0], result[2]) != (self._status, self._body):
            raise Mismatch(f"{self._status} {self._body!r} became {result!r}")
        for name, value in self._headers.items():
            if result[1].get(name) != value:
                raise Mismatch(f"the header {name}: {value} became {result[1].get(name)!r}")
