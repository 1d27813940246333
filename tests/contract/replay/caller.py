"""Replayer 3: plays the server of a scenario to our client, and checks what comes of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from livepeer.client import (
    CallTimeoutError,
    FileOutput,
    Gateway,
    InsufficientBalanceError,
    LivepeerError,
    ProtocolError,
    StreamInterruptedError,
)

from .http1 import LAST_CHUNK, chunk, head
from .scripted import Exchange, ScriptedServer
from .transcript import Mismatch, Scenario, Step
from .values import Values, compact_json

LIMIT = 30.0
#: Seconds that a call gets on top of what was recorded: one or two are too few for a busy machine.
PATIENCE = 60
#: A flood lasts until `timeout_seconds`; a client has to have left long before so much of it.
FLOOD_LIMIT = 64 << 20


class _AnyName(dict[str, str]):
    """A variable that no step has given a value yet has its own name as its value."""

    def __missing__(self, name: str) -> str:
        return name


@dataclass
class Played:
    """How one `send` of a scenario went: `foreign` says why our client never sends such a thing
    (the recorded answer is played to it all the same)."""

    scenario: str
    foreign: str | None = None


async def replay(scenario: Scenario, server: ScriptedServer, *, gateway: bool) -> list[Played]:
    """Play one scenario; raises `Mismatch`."""
    played: list[Played] = []
    values = Values({})
    values.known = _AnyName()
    async with _calls(server, gateway) as calls:
        for step in scenario.steps:
            name = step.get("caller")
            if name is None or "refused" in step:
                continue
            sent = step.get("send")
            if sent and "method" in sent:
                if not sent["path"].startswith("/process/request"):
                    await calls.finish(name)  # a stream's request, replayed with the live session
                    continue
                foreign = foreign_to_us(sent, values, gateway)
                played.append(Played(scenario.name, foreign))
                await calls.finish(name)
                await calls.begin(name, sent, values, foreign)
            elif name in calls.open:
                if "receives" in step:
                    await calls.open[name].answer(step["receives"], values)
                elif step.get("drop"):
                    await calls.leave(name)
        for name in list(calls.open):
            await calls.finish(name)
    return played


def foreign_to_us(sent: Step, values: Values, gateway: bool) -> str | None:
    """Why our client never sends this request, or None for one that it does."""
    header = sent["headers"].get("Livepeer")
    if sent["method"] != "POST":
        return "another method"
    if sent.get("framing") or "Expect" in sent["headers"]:
        return "another framing: bodies go out whole, with their length"
    if not isinstance(header, dict) or "b64json" not in header:
        return "a Livepeer header that is missing or broken"
    path = sent["path"].removeprefix("/process/request")
    if not path.startswith("/") or path.startswith("//") or "?" in path or "/." in path:
        return "a path that is redirected, or has a query"
    if re.search("%2f|%3f|%23", path, re.I):
        return "a route with escapes that an orchestrator undoes wrongly"
    job = values.expand(header["b64json"])
    known = {"id", "request", "parameters", "capability", "timeout_seconds"}
    if set(job) != (known if gateway else known | {"sender", "sig"}) or not job["id"]:
        return "fields of the Livepeer header that are missing, unknown, or in another case"
    if not isinstance(job["timeout_seconds"], int) or job["timeout_seconds"] < 1:
        return "a timeout_seconds that is no positive integer"
    if job["request"] != "{}":
        return "a request that is no empty object (nothing but `model` goes in there)"
    if "body" not in sent or "Content-Type" not in sent["headers"]:
        return "no body, or one without a type"
    return None


class _Call:
    """One call of the client, and the answer that the server is giving it."""

    def __init__(self, task: asyncio.Task[Any], exchange: Exchange, gateway: bool) -> None:
        self.task, self.exchange, self._gateway = task, exchange, gateway
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.flooded = False
        self._chunked = False

    async def answer(self, receives: dict[str, Any], values: Values) -> None:
        connection = self.exchange.connection
        body = (
            compact_json(values.expand(receives["json"]))
            if "json" in receives
            else values.body(receives.get("body"))
        )
        data = b""
        if "status" in receives:
            self.status = receives["status"]
            for status in receives.get("provisional", []):
                data += head(f"HTTP/1.1 {status} Provisional", [])
            self.headers = {
                name: values.text(value).replace("${length}", str(len(body)))
                for name, value in receives["headers"].items()
            }
            self._chunked = self.headers.get("Transfer-Encoding") == "chunked"
            if self.headers.get("Content-Length") == "length":
                self.headers["Content-Length"] = str(len(body))
            data += head(f"HTTP/1.1 {self.status} Recorded", list(self.headers.items()))
        self.body += body
        data += chunk(body) if self._chunked else body
        self.ended = receives.get("ended", False)
        if self.ended and self._chunked and "flood" not in receives:
            data += LAST_CHUNK
        await connection.write(data)
        if "flood" in receives:
            await self._flood(receives["flood"].encode())
        elif receives.get("closed") or (self.ended and not self._framed()):
            connection.close()
            self.exchange.answered.set()
        elif self.ended:
            self.exchange.answered.set()

    async def _flood(self, byte: bytes) -> None:
        self.flooded = True
        piece = chunk(byte * 4096)
        for _ in range(FLOOD_LIMIT // 4096):
            if self.exchange.closed.closed or self.exchange.connection.at_end:
                break
            await self.exchange.connection.write(piece)
            await asyncio.sleep(0)
        else:
            raise Mismatch("the client reads a flood to its end")
        self.exchange.answered.set()

    def _framed(self) -> bool:
        return self._chunked or "Content-Length" in self.headers

    async def check(self) -> None:
        """Compare what the client made of the answer with what it says."""
        try:
            async with asyncio.timeout(LIMIT):
                result = await self.task
        except LivepeerError as error:
            result = error
        except TimeoutError:
            raise Mismatch("the client did not come to an end") from None
        kind = self.headers.get("Content-Type", "").partition(";")[0].lower()
        done = kind == "text/event-stream" and b"data: [DONE]\n" in self.body
        if not self.status or not (self.ended or done):
            if not isinstance(result, LivepeerError):
                raise Mismatch(f"no whole answer came, and the client made {result!r} of it")
        elif self.status >= 300:
            self._check_error(result)
        elif kind == "text/event-stream":
            self._check_stream(result)
        else:
            self._check_value(result, kind)

    def _check_error(self, result: Any) -> None:
        said = self.body.decode("utf-8", "replace").strip()
        if not isinstance(result, LivepeerError) or result.status != self.status:
            raise Mismatch(f"answered {self.status}, and the client made {result!r} of it")
        if not result.rejections or result.rejections[-1].status != self.status:
            raise Mismatch(f"the attempt is not recorded: {result.rejections}")
        words = re.findall(r"\w+", said)
        told = str(result)
        if words and not any(word in told for word in words) and "found nobody" not in told:
            raise Mismatch(f"the client's error {told!r} says nothing of {said!r}")

    def _check_stream(self, result: Any) -> None:
        text = re.sub(rb'data: \{"balance": -?\d+\.\d{3}\}\n\n\n(?=[^\n]*\[DONE\])', b"", self.body)
        before, done, _ = (b"\n" + text + b"\n").partition(b"\ndata: [DONE]\n")
        if not done:
            before, done, _ = (b"\n" + text + b"\n").partition(b"\ndata:[DONE]\n")
        if not done:
            before, done, _ = (b"\n" + text + b"\n").partition(b"\n[DONE]\n")
        wanted = values_of(before if done else text, whole=bool(done) or self.flooded)
        if done and b"event: insufficient balance" not in before:
            if result != wanted:
                raise Mismatch(f"the stream is {wanted!r}, and the client made {result!r} of it")
            return
        kinds = (StreamInterruptedError, CallTimeoutError)
        if b"insufficient" in before:
            if not isinstance(result, InsufficientBalanceError):
                raise Mismatch(f"the money is spent, and the client made {result!r} of it")
            return
        if not isinstance(result, kinds) or list(result.received) != wanted:
            received = getattr(result, "received", None)
            raise Mismatch(
                f"cut after {wanted!r}, and the client made {result!r} {received!r} of it"
            )

    def _check_value(self, result: Any, kind: str) -> None:
        if not self.body:
            if self._gateway and not isinstance(result, ProtocolError):
                raise Mismatch(f"an empty 200 of a gateway became {result!r}")
            if not self._gateway and result is not None:
                raise Mismatch(f"an empty answer became {result!r}")
            return
        try:
            value = json.loads(self.body)
        except ValueError:
            if kind == "application/json":
                if not isinstance(result, ProtocolError):
                    raise Mismatch(f"what is no JSON became {result!r}") from None
            elif isinstance(result, FileOutput):
                if result.data != self.body or (kind and result.media_type != kind):
                    raise Mismatch("the file is not the one that was sent") from None
            elif result != self.body.decode("utf-8", "replace"):
                raise Mismatch(f"{self.body[:80]!r} became {result!r}") from None
            return
        as_text = self.body.decode() if kind.startswith("text/") and not self._gateway else value
        if result not in (value, as_text):
            raise Mismatch(f"{value!r} became {result!r}")


def values_of(stream: bytes, *, whole: bool) -> list[Any]:
    """The values of an event stream: JSON or text of each event that is no progress."""
    found = []
    blocks = re.split(rb"\n\n+", stream.strip(b"\n"))
    if not whole and not stream.endswith(b"\n\n"):
        blocks = blocks[:-1]  # an event without its empty line is none
    for block in blocks:
        lines = [line for line in block.split(b"\n") if line.startswith(b"data:")]
        named = re.search(rb"^event: ?(.+)$", block, re.M)
        if not lines or (named and named[1] in (b"progress", b"error")):
            continue
        data = b"\n".join(line[5:].removeprefix(b" ") for line in lines).decode("utf-8", "replace")
        try:
            found.append(json.loads(data))
        except ValueError:
            found.append(data)
    return found


class _Calls:
    def __init__(self, server: ScriptedServer, gw: Gateway, gateway: bool) -> None:
        self._server, self._gw, self._gateway = server, gw, gateway
        self.open: dict[str, _Call] = {}
        self.jobs: asyncio.Queue[Exchange] = asyncio.Queue()

    async def begin(self, name: str, sent: Step, values: Values, foreign: str | None) -> None:
        header = sent["headers"].get("Livepeer")
        job = values.expand(header.get("b64json")) if isinstance(header, dict) else {}
        if not isinstance(job, dict):
            job = {}
        route = unquote(sent["path"].removeprefix("/process/request").removeprefix("/"))
        body = values.body(sent.get("body")) if "body" in sent else b"{}"
        content: Any = body
        with contextlib.suppress(ValueError):
            parsed = json.loads(body)
            content = parsed if compact_json(parsed) == body else body
        timeout = job.get("timeout_seconds")
        if not isinstance(timeout, int) or timeout < 1 or foreign:
            timeout = 10
        capability = job.get("capability") or "some"
        task = asyncio.ensure_future(
            self._gw.run_async(
                str(capability),
                input=content if isinstance(content, bytes | dict | list) else body,
                route=route.partition("?")[0],
                timeout=timeout + PATIENCE,
                validate=False,
            )
        )
        try:
            async with asyncio.timeout(LIMIT):
                exchange = await self.jobs.get()
        except TimeoutError:
            raise Mismatch(f"the client sent nothing: {task}") from None
        self.open[name] = _Call(task, exchange, self._gateway)
        if foreign is None:
            self._check_request(sent, job, body, exchange)

    def _check_request(
        self, sent: Step, job: dict[str, Any], body: bytes, exchange: Exchange
    ) -> None:
        request = exchange.request
        if request.start_line != f"POST {sent['path']} HTTP/1.1":
            raise Mismatch(f"{sent['path']!r} was asked for as {request.start_line!r}")
        if bytes(request.body) != body:
            raise Mismatch(f"the body {body[:80]!r} went out as {bytes(request.body)[:80]!r}")
        said = json.loads(base64.b64decode(request.header("livepeer") or "", validate=True))
        wanted_keys = set(job)
        if set(said) != wanted_keys or not said["id"]:
            raise Mismatch(f"the Livepeer header has {sorted(said)}, not {sorted(wanted_keys)}")
        for key in ("capability", "request"):
            if said[key] != job[key]:
                raise Mismatch(f"{key} is {said[key]!r}, not {job[key]!r}")
        # What is left of it is said; finding an orchestrator takes some of it.
        seconds, recorded = said["timeout_seconds"], job["timeout_seconds"]
        if not recorded < seconds <= recorded + PATIENCE:
            raise Mismatch(f"timeout_seconds is {seconds!r}, and {recorded!r} in the recording")
        json.loads(said["parameters"])

    async def leave(self, name: str) -> None:
        call = self.open.pop(name)
        call.task.cancel()
        await asyncio.gather(call.task, return_exceptions=True)
        await call.exchange.closed.until(
            lambda: call.exchange.closed.closed, LIMIT, "the client to leave"
        )
        call.exchange.answered.set()

    async def finish(self, name: str) -> None:
        call = self.open.pop(name, None)
        if call is not None:
            if not call.ended and not call.task.done():
                call.exchange.connection.abort()
            try:
                await call.check()
            finally:
                call.task.cancel()
                await asyncio.gather(call.task, return_exceptions=True)
                call.exchange.answered.set()


@contextlib.asynccontextmanager
async def _calls(server: ScriptedServer, gateway: bool) -> AsyncIterator[_Calls]:
    url = f"http://{server.address}"
    async with Gateway(**{"gateway_url" if gateway else "orch_url": url}, max_retries=0) as gw:  # type: ignore[arg-type]
        calls = _Calls(server, gw, gateway)

        async def sort() -> None:
            while True:
                exchange = await server.requests.get()
                if "/process/token" in exchange.request.start_line:
                    token = {"price": {"pixelsPerUnit": 1}, "available_capacity": 9, "LastNonce": 0}
                    await exchange.answer({"status": 200, "body": {"json": token}}, Values({}))
                elif exchange.request.start_line.startswith("GET /discovery "):
                    await exchange.answer({"status": 404, "body": "404"}, Values({}))
                else:
                    calls.jobs.put_nowait(exchange)

        sorter = asyncio.create_task(sort())
        try:
            yield calls
        finally:
            sorter.cancel()
            for call in calls.open.values():
                call.task.cancel()
            await asyncio.gather(
                sorter, *(call.task for call in calls.open.values()), return_exceptions=True
            )
