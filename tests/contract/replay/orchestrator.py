"""Replayer 1: plays callers and containers against an orchestrator, checks all that comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from typing import Any

from .http1 import LAST_CHUNK, Connection, Incoming, chunk, head, tls_unverified
from .scripted import Exchange, ScriptedServer
from .transcript import Mismatch, Scenario, Step, Transcript
from .values import Values

#: How long anything may take that the transcript does not date.
LIMIT = 30.0
#: Where the README says that the scripted server never listens.
NEVER_LISTENS = frozenset({"refused", "start_refused", "proxy_refused"})
_SECRET = frozenset({"Authorization"})
#: A flood is "megabytes", of which a busy machine gives little; no orderly end has so much.
FLOOD = 4_000


class Caller:
    """A caller's connection: one message after the other."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.message = Incoming()
        self.taken = 0  # bytes of the body that steps have seen
        self.seen_head = False
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return self.message.ended and not self.connection.at_end

    async def send(self, data: bytes) -> None:
        await self._stop()
        self.message, self.taken, self.seen_head = Incoming(), 0, False
        self._task = asyncio.create_task(self._read(self.message))
        self.connection.write_soon(data)

    async def go_on(self, data: bytes) -> None:
        await self.connection.write(data)

    async def _read(self, message: Incoming) -> None:
        await self.connection.read(message, request=False)
        if message.ended and not message.closed:
            await self.connection.until_closed(message)

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def drop(self) -> None:
        self.connection.abort()
        await self._stop()


class OrchestratorReplay:
    """One run of one scenario; use `replay()`."""

    def __init__(
        self, transcript: Transcript, scenario: Scenario, address: str, secret: str, tls: bool
    ) -> None:
        self.scenario = scenario
        self.silence = transcript.silence_s
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.recorded_secret, self.secret = transcript.secret, secret
        self.tls: ssl.SSLContext | None = tls_unverified() if tls else None
        self.callers: dict[str, Caller] = {}
        self.exchanges: dict[str, Exchange] = {}
        self.servers: dict[str, ScriptedServer] = {}
        self.step_began = self.step_ended = time.monotonic()
        self.last_capacity: tuple[str, int] | None = None
        self.values = Values({"orch": address}, scenario.patterns)

    async def run(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            await self._set_up(stack)
            if self.scenario.registration is not None:
                await self._register(self.scenario.registration)
            for number, step in enumerate(self.scenario.steps):
                began = time.monotonic()
                try:
                    await self._step(step)
                except Mismatch as error:
                    raise Mismatch(f"step {number} {_brief(step)}\n  {error}") from None
                self.step_began, self.step_ended = began, time.monotonic()
            await self._recheck()

    async def _set_up(self, stack: contextlib.AsyncExitStack) -> None:
        """Starts what the scenario needs; `stack` ends it."""
        for name in ("container", "container2"):
            listens = self.scenario.name not in NEVER_LISTENS
            server = await stack.enter_async_context(ScriptedServer(listens))
            self.servers[name] = server
            self.values.known[name] = server.address

    async def _recheck(self) -> None:
        """What must not have happened may just not have happened yet: looks once more."""
        if self.last_capacity is not None and "capacity" in self.scenario.steps[-1]:
            await asyncio.sleep(0.2)
            await self._check_capacity(*self.last_capacity)

    async def _close(self) -> None:
        for caller in self.callers.values():
            await caller.drop()

    async def _step(self, step: Step) -> None:
        if "caller" in step:
            await self._caller_step(step)
        elif "container" in step:
            await self._container_step(step)
        elif "capacity" in step:
            name = step.get("of", self.scenario.capability)
            self.last_capacity = (name, step["capacity"])
            await self._eventually(self._check_capacity, *self.last_capacity)
        elif "channels" in step:
            for name, state in step["channels"].items():
                await self._eventually(self._check_channel, self.values.text(name), state)
        elif "register" in step:
            await self._register(step["register"])
        elif "wait_s" in step:
            await asyncio.sleep(step["wait_s"])
        else:
            raise ValueError(f"unknown step {step!r}")

    # -- callers --------------------------------------------------------------------------------

    async def _caller_step(self, step: Step) -> None:
        name = step["caller"]
        if "send" in step:
            await self._send(name, step["send"])
        elif "receives" in step:
            await self._receives(self.callers[name], step["receives"])
        elif "blocks" in step:
            message = self.callers[name].message
            if not await message.silent(self.silence):
                raise Mismatch(f"something arrived: {message.describe()}")
        elif "drop" in step:
            await self.callers.pop(name).drop()
        elif "refused" in step:
            with contextlib.suppress(OSError):
                await self._connect()
                raise Mismatch("somebody still listens")
        else:
            raise ValueError(f"unknown step {step!r}")

    async def _send(self, name: str, send: dict[str, Any]) -> None:
        pieces = b"".join(chunk(self.values.body(piece)) for piece in send.get("pieces", []))
        if send.get("finish"):
            pieces += LAST_CHUNK
        if "method" not in send:
            await self.callers[name].go_on(pieces)
            return
        caller = self.callers.get(name)
        if caller is None or not caller.idle:
            if caller is not None:
                await caller.drop()
            caller = self.callers[name] = Caller(await self._connect(send.get("to")))
        await caller.send(self._request(send) + pieces)

    def _request(self, send: dict[str, Any]) -> bytes:
        host = self.values.known[send.get("to", "orch")]
        headers = [("Host", host), *self.values.headers(send["headers"])]
        headers = [
            (key, value.replace(self.recorded_secret, self.secret) if key in _SECRET else value)
            for key, value in headers
        ]
        body = self.values.body(send.get("body"))
        if send.get("framing") == "chunked":
            headers.append(("Transfer-Encoding", "chunked"))
        elif "body" in send or send["method"] in ("POST", "PUT", "PATCH"):
            headers.append(("Content-Length", str(len(body))))
        line = f"{send['method']} {self.values.text(send['path'])} HTTP/1.1"
        return head(line, headers) + body

    async def _connect(self, to: str | None = None) -> Connection:
        if to is not None:
            raise ValueError(f"this replay has no {to}")
        return await Connection.open(self.host, self.port, self.tls)

    async def _receives(self, caller: Caller, receives: dict[str, Any]) -> None:
        message = caller.message
        limit = LIMIT + receives.get("after_s", 0)
        if "provisional" in receives:
            await message.until(
                lambda: len(message.provisional) >= len(receives["provisional"]), limit, "a 1xx"
            )
            if message.provisional != receives["provisional"]:
                raise Mismatch(f"1xx answers {message.provisional}")
            if "status" not in receives:
                return
        if "status" not in receives and not caller.seen_head and receives.get("closed"):
            await message.until(lambda: message.has_head or message.closed, limit, "the end")
            if message.has_head or message.body or message.broken:
                raise Mismatch(f"expected no answer: {message.describe()}")
            return
        await message.until(
            lambda: message.has_head or message.closed or bool(message.broken), limit, "an answer"
        )
        if not message.has_head:
            raise Mismatch(f"no answer: {message.describe()}")
        caller.seen_head = True
        await self._receive_body(caller, receives, limit)
        if "after_s" in receives:
            self._check_time(receives["after_s"])
        if "status" in receives:
            if message.status != receives["status"]:
                raise Mismatch(
                    f"status {message.status} instead of {receives['status']}: "
                    f"{bytes(message.body[:300])!r}"
                )
            self.values.check_headers(
                receives["headers"],
                message.headers,
                len(message.body) if message.ended else None,
            )
        if receives.get("closed"):
            await message.until(lambda: message.closed, limit, "the end of the connection")

    async def _receive_body(self, caller: Caller, receives: dict[str, Any], limit: float) -> None:
        message = caller.message
        if receives.get("ended"):
            over = lambda: message.ended or message.closed or bool(message.broken)  # noqa: E731
            await message.until(over, limit, "the end of the body")
            if not message.ended:
                raise Mismatch(f"the answer broke off: {message.describe()}")
            body = bytes(message.body[caller.taken :])
            caller.taken = len(message.body)
            if "flood" in receives:
                body = self._without_flood(body, receives)
        else:
            length = self.values.body_length(receives)
            if length is None:
                raise ValueError("an answer that goes on needs a body of known length")
            wanted = caller.taken + length
            await message.until(
                lambda: len(message.body) >= wanted or message.closed, limit, "more of the body"
            )
            body = bytes(message.body[caller.taken :])
            caller.taken = len(message.body)
            if message.ended and not receives.get("closed"):
                raise Mismatch(f"the answer ended too early: {message.describe()}")
        self.values.check_body(receives, body)

    def _without_flood(self, body: bytes, receives: dict[str, Any]) -> bytes:
        wanted = self.values.body(receives.get("body"))
        flood = body[len(wanted) :]
        if flood.strip(receives["flood"].encode()):
            raise Mismatch(f"not a flood of {receives['flood']!r}: {flood[:200]!r}")
        if len(flood) < FLOOD:
            raise Mismatch(f"a flood of only {len(flood)} bytes")
        return body[: len(wanted)]

    def _check_time(self, after: int) -> None:
        # Where the machine is busy, the step before is seen late, and so is this one.
        now = time.monotonic()
        if now - self.step_began < after - 0.6 or now - self.step_ended > after + 15:
            raise Mismatch(f"took {now - self.step_ended:.1f} s instead of {after} s")

    # -- containers -----------------------------------------------------------------------------

    async def _container_step(self, step: Step) -> None:
        name = step["container"]
        if "receives" in step:
            await self._container_receives(name, step)
        elif "answers" in step:
            if step["answers"].get("idle"):
                for server in self.servers.values():
                    server.close_idle()
            else:
                await self.exchanges[name].answer(step["answers"], self.values)
        elif "abandoned" in step:
            closed = self.exchanges[name].closed
            if step["abandoned"]:
                await closed.until(lambda: closed.closed, LIMIT, "the orchestrator to close")
            else:
                await asyncio.sleep(0.5)
                if closed.closed:
                    raise Mismatch("the orchestrator closed the connection to the container")
        elif "down" in step:
            for server in self.servers.values():
                await server.down()
        else:
            raise ValueError(f"unknown step {step!r}")

    async def _container_receives(self, name: str, step: Step) -> None:
        receives = step["receives"]
        if receives is None:
            await asyncio.sleep(step.get("for_s", self.silence))
            for server in self.servers.values():
                if not server.requests.empty():
                    request = server.requests.get_nowait().request
                    raise Mismatch(f"a request reached the container: {request.describe()}")
            return
        exchange = await self.servers[receives.get("at", "container")].next_request(LIMIT)
        self.exchanges[name] = exchange
        check_request(self.values, receives, exchange.request)

    # -- the orchestrator's own state -----------------------------------------------------------

    async def _register(self, registration: dict[str, Any]) -> None:
        send = {
            "method": "POST",
            "path": "/capability/register",
            "headers": {"Authorization": self.recorded_secret},
            "body": {"json": registration},
        }
        message = await self._ask(self._request(send))
        if (message.status, bytes(message.body)) != (200, b"ok"):
            raise Mismatch(f"registration refused: {message.describe()}")

    async def _check_capacity(self, capability: str, wanted: int) -> None:
        send = {
            "method": "GET",
            "path": "/process/token",
            "headers": {
                "Livepeer-Eth-Address": {"b64json": {"addr": "0x" + "0" * 39 + "1", "sig": ""}},
                "Livepeer-Capability": capability,
            },
        }
        message = await self._ask(self._request(send))
        self.values.check_json(
            {
                "sender_address": {"addr": "0x" + "0" * 39 + "1", "sig": ""},
                "price": {"pixelsPerUnit": 1},
                "service_addr": "https://${orch}",
                "LastNonce": 0,
                **({"available_capacity": wanted} if wanted else {}),
            },
            _json(message),
            "token",
        )

    async def _check_channel(self, name: str, state: str) -> None:
        send = {"method": "GET", "path": f"/ai/trickle/{name}/next", "headers": {}}
        message = await self._ask(self._request(send))
        wanted = {"open": 200, "absent": 404}[state]
        if message.status != wanted:
            raise Mismatch(f"channel {name} is {message.status}, not {wanted}")

    async def _ask(self, request: bytes) -> Incoming:
        caller = Caller(await self._connect())
        try:
            await caller.send(request)
            message = caller.message
            await message.until(lambda: message.ended or message.closed, LIMIT, "an answer")
            if not message.ended:
                raise Mismatch(f"no answer: {message.describe()}")
            return message
        finally:
            await caller.drop()

    async def _eventually(self, check: Any, *arguments: Any) -> None:
        """Effects of a step may need a moment, on a busy machine a long one."""
        until = time.monotonic() + 10
        while True:
            try:
                return await check(*arguments)
            except Mismatch:
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(0.03)


def check_request(values: Values, expected: dict[str, Any], request: Incoming) -> None:
    """Compares a request that reached a scripted server."""
    method, path, _ = request.start_line.split(" ", 2)
    if method != expected["method"]:
        raise Mismatch(f"method {method} instead of {expected['method']}")
    values.check_text(expected["path"], path, "path")
    values.check_headers(expected["headers"], request.headers, len(request.body))
    # A redirected GET is recorded without a word about its body: it has none.
    values.check_body(expected, bytes(request.body))


async def replay(
    transcript: Transcript, scenario: Scenario, address: str, secret: str, *, tls: bool = True
) -> None:
    """Plays one scenario against the orchestrator at `address` (`host:port`).

    Raises `Mismatch`, with the step, where it answers or asks anything else than was recorded.
    """
    await OrchestratorReplay(transcript, scenario, address, secret, tls).run()


def _json(message: Incoming) -> Any:
    try:
        return json.loads(bytes(message.body))
    except ValueError:
        raise Mismatch(f"not JSON: {message.describe()}") from None


def _brief(step: Step) -> str:
    text = repr(step)
    return text if len(text) < 500 else text[:500] + "..."
