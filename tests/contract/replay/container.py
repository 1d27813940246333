"""Plays the orchestrator of a scenario against a served pipeline (replayer 2).

The pipeline is scripted: where the scenario's container answers, its `predict` returns, raises or
yields just that, and what leaves the served app is compared with what was recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from livepeer.runner import File, Pipeline, create_app, errors
from livepeer.runner.local.http import listening
from livepeer.runner.running.service import Service
from livepeer.runner.settings import Settings

from .http1 import Connection, Incoming, head
from .transcript import Mismatch, Scenario, Step
from .values import Values

LIMIT = 30.0
#: Names that recorded callers gave to the job itself: our containers have one, `/predict`.
JOB_NAMES = frozenset({"/chat", "/0", "/1", "/2", "/3"})


DONE = b"data: [DONE]"


class NotProduced(Mismatch):
    """An answer that no `predict` can give: the SDK does not let a pipeline do it."""


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


@dataclass
class Exchange:
    """One request to the container and what it is to answer, step by step."""

    name: str
    steps: list[Step]
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    due: asyncio.Queue[Step] = field(default_factory=asyncio.Queue)
    connection: Connection | None = None
    answer: Incoming = field(default_factory=Incoming)
    reading: asyncio.Task[None] | None = None
    checked: int = 0


class Script:
    """The exchanges of a scenario, handed to `predict` in the order in which requests come."""

    def __init__(self, scenario: Scenario) -> None:
        self.exchanges: list[Exchange] = []
        self.steps: list[tuple[Exchange, Step]] = []
        named: dict[str, Exchange] = {}
        for step in scenario.steps:
            name = step.get("container")
            if name is None or name == "-":
                continue
            if step.get("receives"):
                named[name] = Exchange(name, [])
                self.exchanges.append(named[name])
            elif name not in named:
                continue  # that no request comes: nothing to send
            elif "answers" in step:
                named[name].steps.append(step["answers"])
            self.steps.append((named[name], step))
        self.sent: asyncio.Queue[Exchange] = asyncio.Queue()

    @contextlib.contextmanager
    def running(self) -> Iterator[Exchange]:
        exchange = self.sent.get_nowait()
        exchange.begun.set()
        try:
            yield exchange
        finally:
            exchange.stopped.set()


def pipeline_for(scenario: Scenario, script: Script, values: Values) -> type[Pipeline]:
    """The class whose `predict` gives the recorded answers, by the type of the first."""
    answers = [step for exchange in script.exchanges for step in exchange.steps]
    types = {_type(step) for step in answers if "status" in step and step["status"] < 400}
    if any(kind.startswith("text/event-stream") for kind in types):
        return _stream(script, values)
    if types - {"application/json"}:
        return _file(script, values)
    return _json(script, values)


def _type(answer: Step) -> str:
    headers = {name.lower(): value for name, value in answer.get("headers", {}).items()}
    return str(headers.get("content-type", ""))


def _check_producible(answer: Step) -> None:
    for key in ("close", "raw", "provisional", "length"):
        if key in answer:
            raise NotProduced(f"an answer with {key!r}")
    if 200 < answer.get("status", 200) < 400:
        raise NotProduced(f"status {answer['status']}")
    known = {"content-type", "content-length", "cache-control"}
    if answer.get("status", 200) >= 400:
        known |= {"retry-after", "x-metadata"}  # an error of ours has its own
    if more := {name.lower() for name in answer.get("headers", {})} - known:
        raise NotProduced(f"the headers {sorted(more)}")


def _raise_error(answer: Step) -> None:
    if (status := answer.get("status", 200)) >= 400:
        error = type("Recorded", (errors.JobError,), {"status": status, "type": "recorded"})
        raise error("as recorded")


def _json(script: Script, values: Values) -> type[Pipeline]:
    class Recorded(Pipeline):
        async def predict(self, request: Anything) -> Any:
            with script.running() as exchange:
                answer = await exchange.due.get()
                _raise_error(answer)
                return json.loads(_whole(exchange, answer, values))

    return Recorded


def _file(script: Script, values: Values) -> type[Pipeline]:
    class Recorded(Pipeline):
        async def predict(self, request: Anything) -> File:
            with script.running() as exchange:
                answer = await exchange.due.get()
                _raise_error(answer)
                return File(_whole(exchange, answer, values), _type(answer) or None)

    return Recorded


def _stream(script: Script, values: Values) -> type[Pipeline]:
    class Recorded(Pipeline):
        async def predict(self, request: Anything) -> AsyncIterator[Any]:
            with script.running() as exchange:
                finished = False
                while not finished:
                    answer = await exchange.due.get()
                    if "status" in answer:
                        _raise_error(answer)
                    pieces = _pieces(answer, values)
                    for event in events_of(pieces):
                        yield event
                    finished = answer.get("finish", True) or DONE in pieces

    return Recorded


def _pieces(answer: Step, values: Values) -> bytes:
    return b"".join(values.body(piece) for piece in answer.get("pieces", [answer.get("body")]))


def _whole(exchange: Exchange, answer: Step, values: Values) -> bytes:
    """A body that is sent in one go, even where the recorded container took several."""
    return b"".join(_pieces(step, values) for step in exchange.steps)


def events_of(stream: bytes) -> Iterator[Any]:
    """The JSON of each event up to the end mark. Raises `NotProduced` for what is no such event."""
    for event in stream.split(b"\n\n"):
        if event in (b"", DONE):
            continue
        if not event.startswith(b"data: "):
            raise NotProduced(f"the lines {event[:60]!r}")
        try:
            yield json.loads(event.removeprefix(b"data: "))
        except ValueError:
            raise NotProduced(f"data that is no JSON: {event[:60]!r}") from None


@contextlib.asynccontextmanager
async def served(cls: type[Pipeline], capacity: int) -> AsyncIterator[tuple[Service, int]]:
    app = create_app(cls, Settings(capacity=capacity))
    service: Service = app.state.service
    async with listening(app) as url:
        async with asyncio.timeout(LIMIT):
            await service.lifecycle.wait_ready()
        yield service, int(url.rpartition(":")[2])


async def request(port: int, recorded: Step, values: Values, path: str) -> tuple[Connection, bytes]:
    """A fresh connection, and the recorded request as bytes."""
    body = values.body(recorded.get("body"))
    headers = [("Host", f"127.0.0.1:{port}"), *values.headers(recorded["headers"])]
    start = head(f"{recorded['method']} {path} HTTP/1.1", headers)
    return await Connection.open("127.0.0.1", port, None), start + body


async def answer_to(port: int, recorded: Step) -> Incoming:
    """Send one recorded request just as it was, its path too; gives the whole answer."""
    values = Values({"container": f"127.0.0.1:{port}"})
    connection, data = await request(port, recorded, values, recorded["path"])
    answer = Incoming()
    try:
        await connection.write(data)
        async with asyncio.timeout(LIMIT):
            await connection.read(answer, request=False)
    finally:
        connection.abort()
    return answer


class Player:
    """The orchestrator's side: sends the recorded requests, compares the answers."""

    def __init__(self, port: int, script: Script, values: Values) -> None:
        self.port = port
        self.script = script
        self.values = values

    async def play(self) -> None:
        for exchange, step in self.script.steps:
            if step.get("receives"):
                await self._send(exchange, step["receives"])
            elif "answers" in step:
                await self._compare(exchange, step["answers"])
            elif step.get("abandoned"):
                await self._abandon(exchange)

    async def aclose(self) -> None:
        for exchange in self.script.exchanges:
            if exchange.connection is not None:
                exchange.connection.abort()
            if exchange.reading is not None:
                exchange.reading.cancel()
                await asyncio.wait((exchange.reading,))

    async def _send(self, exchange: Exchange, recorded: Step) -> None:
        path = "/predict" if recorded["path"] in JOB_NAMES else recorded["path"]
        exchange.connection, data = await request(self.port, recorded, self.values, path)
        self.script.sent.put_nowait(exchange)
        exchange.reading = asyncio.create_task(
            exchange.connection.read(exchange.answer, request=False)
        )
        await exchange.connection.write(data)

    async def _compare(self, exchange: Exchange, recorded: Step) -> None:
        """Let `predict` give this answer, and see that it is what leaves."""
        _check_producible(recorded)
        answer = exchange.answer
        exchange.due.put_nowait(recorded)
        if recorded.get("pieces") == [] and not recorded.get("finish", True):
            return  # headers alone: ours leave with the first bytes
        expected = _pieces(recorded, self.values)
        first = exchange.steps[0]
        kind = _type(first)
        last = recorded.get("finish", True)
        streams = kind == "text/event-stream"
        if not streams:
            last, expected = True, _whole(exchange, first, self.values)
        goal = exchange.checked + len(canonical(expected))
        await answer.until(
            lambda: answer.ended if last else answer.ended or len(answer.body) >= goal,
            LIMIT,
            "the answer",
        )
        if answer.status != first["status"]:
            raise Mismatch(f"{answer.status} {bytes(answer.body[:300])!r}, not {first['status']}")
        if answer.status >= 400:
            _check_error_shape(answer)
            return
        if (ours := answer.header("content-type")) != kind:
            raise Mismatch(f"Content-Type {ours!r}, not {kind!r}")
        got = bytes(answer.body[exchange.checked :] if streams else answer.body)
        exchange.checked = len(answer.body)
        if kind == "application/json":
            if json.loads(got) != json.loads(expected):
                raise Mismatch(f"{got!r}, not {expected!r}")
        elif canonical(got) != canonical(expected):
            raise Mismatch(f"{got[-300:]!r}, not {expected[-300:]!r}")

    async def _abandon(self, exchange: Exchange) -> None:
        """The orchestrator closes the connection: the work has to stop."""
        assert exchange.connection is not None
        async with asyncio.timeout(LIMIT):
            if not exchange.answer.ended:
                await exchange.begun.wait()
            exchange.connection.abort()
            if exchange.begun.is_set():
                await exchange.stopped.wait()


def canonical(stream: bytes) -> bytes:
    """The same lines, with the JSON of data lines written in one way."""

    def line(text: bytes) -> bytes:
        try:
            value = json.loads(text.removeprefix(b"data: "))
        except ValueError:
            return text
        compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        return b"data: " + compact.replace(b"[DONE]", b"\\u005bDONE]")

    lines = stream.split(b"\n")
    return b"\n".join(line(one) if one.startswith(b"data: ") else one for one in lines)


def _check_error_shape(answer: Incoming) -> None:
    error = json.loads(answer.body)["error"]
    if not {"type", "message", "fields"} <= error.keys():
        raise Mismatch(f"an error of another shape: {error}")


async def replay(scenario: Scenario) -> None:
    """Play one scenario. Raises `Mismatch` where our container does not do what was recorded."""
    script = Script(scenario)
    values = Values({"container": "127.0.0.1:1", "container2": "127.0.0.1:2"})
    registered = (scenario.registration or {}).get("capacity", 1)
    cls = pipeline_for(scenario, script, values)
    async with served(cls, max(1, registered)) as (service, port):
        player = Player(port, script, values)
        try:
            await player.play()
        finally:
            await player.aclose()
        async with asyncio.timeout(LIMIT):
            await service.lifecycle.wait_empty()
