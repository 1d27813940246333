"""Plays the orchestrator of a stream scenario against a served live pipeline (replayer 2).

The channels are real, at a trickle server of our own over TLS. What a recorded container answered
is had from the pipeline where an author can bring it about: parameters that are refused (422), a
validator that breaks (500), no free slot (503). The bodies of these answers are the SDK's own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, model_validator

from livepeer.runner import LivePipeline
from livepeer.runner.devnet.certificate import server_context
from livepeer.runner.errors import OverCapacity
from livepeer.runner.live.work import LiveWork
from livepeer.trickle import TrickleServer

from .container import LIMIT, NotProduced, served
from .http1 import Connection, Incoming, head
from .transcript import Mismatch, Scenario, Step
from .values import Values, compact_json

TRICKLE_PATH = "/ai/trickle"
#: What an author's pipeline can bring about; 404 is for streams that do not run.
MAKES = {
    "/stream/start": {200, 422, 500, 503},
    "/stream/params": {200, 422, 500},
    "/stream/stop": {200},
}


class Script:
    """What the container is to answer to the request that is sent now."""

    status = 200


def pipeline_for(script: Script) -> type[LivePipeline]:
    class Recorded(LivePipeline):
        class Params(BaseModel):
            model_config = ConfigDict(extra="allow")

            @model_validator(mode="before")
            @classmethod
            def as_recorded(cls, values: Any) -> Any:
                if script.status == 422:
                    raise ValueError("as recorded")
                if script.status == 500:
                    raise RuntimeError("as recorded")
                return values

        params: Params

    return Recorded


@asynccontextmanager
async def trickle_server() -> AsyncIterator[TrickleServer]:
    """The orchestrator's channels. One serves all scenarios, whose names are unique."""
    async with TrickleServer(
        base_path=TRICKLE_PATH, autocreate=False, ssl_context=server_context("127.0.0.1")
    ) as server:
        yield server


class Player:
    """Sends the recorded requests in order, and compares the statuses that come back."""

    def __init__(self, port: int, work: LiveWork, script: Script, trickle: TrickleServer) -> None:
        self._port = port
        self._work = work
        self._script = script
        self._trickle = trickle
        orch = urlsplit(trickle.url).netloc
        self._values = Values({"orch": orch, "container": f"127.0.0.1:{port}"})
        self._values.known["container2"] = self._values.known["container"]
        self._open: dict[str, tuple[Connection, Incoming, str]] = {}
        self._channels: list[str] = []

    async def play(self, scenario: Scenario) -> None:
        steps = [step for step in scenario.steps if step.get("container", "-") != "-"]
        for at, step in enumerate(steps):
            name = step["container"]
            if step.get("receives"):
                answers = (one["answers"] for one in steps[at + 1 :] if answered(one, name))
                await self._send(name, step["receives"], next(answers, {}))
            elif "answers" in step:
                await self._compare(name, step["answers"])
            elif step.get("abandoned"):
                self._open[name][0].abort()

    async def aclose(self) -> None:
        """As the orchestrator ends what is left: its channels close, the container has to see."""
        for connection, _, _ in self._open.values():
            connection.abort()
        for name in self._channels:
            await self._trickle.close_channel(name)

    async def _send(self, name: str, recorded: Step, answer: Step) -> None:
        if "json" in recorded:
            document = self._values.expand(recorded["json"])
            body = compact_json(document)
            if recorded["path"] == "/stream/start":
                self._make_channels(document)
        else:
            body = self._values.body(recorded.get("body"))
        headers = {**recorded["headers"], "Host": f"127.0.0.1:{self._port}"}
        headers["Content-Length"] = str(len(body))
        headers.pop("Transfer-Encoding", None)
        start = head(
            f"{recorded['method']} {recorded['path']} HTTP/1.1", self._values.headers(headers)
        )
        connection = await Connection.open("127.0.0.1", self._port, None)
        incoming = Incoming()
        self._open[name] = (connection, incoming, recorded["path"])
        self._script.status = answer.get("status", 200)
        with ExitStack() as taken:
            if self._script.status == 503:
                self._take_all_slots(taken)
            await connection.write(start + body)
            if answer:
                async with asyncio.timeout(LIMIT):
                    await connection.read(incoming, request=False)

    async def _compare(self, name: str, recorded: Step) -> None:
        connection, answer, path = self._open.pop(name)
        connection.abort()
        for key in ("close", "length", "raw"):
            if key in recorded:
                raise NotProduced(f"an answer with {key!r}")
        if recorded["status"] not in MAKES.get(path, ()):
            raise NotProduced(f"status {recorded['status']} of {path}")
        if answer.status != recorded["status"]:
            body = bytes(answer.body[:300])
            raise Mismatch(f"{path}: {answer.status} {body!r}, not {recorded['status']}")
        if answer.header("content-type") != "application/json":
            raise Mismatch(f"an answer of type {answer.header('content-type')!r}")
        if answer.status >= 400 and "error" not in json.loads(answer.body):
            raise Mismatch(f"an error of another shape: {bytes(answer.body)!r}")
        if path == "/stream/stop":
            await self.aclose()

    def _make_channels(self, document: dict[str, Any]) -> None:
        for key, url in document.items():
            if key.endswith("_url") and isinstance(url, str) and url.startswith(self._trickle.url):
                name = urlsplit(url).path.removeprefix(TRICKLE_PATH + "/")
                self._trickle.create(name)
                self._channels.append(name)

    def _take_all_slots(self, taken: ExitStack) -> None:
        try:
            while True:
                taken.enter_context(self._work.service.lifecycle.acquire())
        except OverCapacity:
            return


def answered(step: Step, name: str) -> bool:
    return step.get("container") == name and "answers" in step


async def replay(scenario: Scenario, trickle: TrickleServer) -> None:
    """Play one scenario. Raises `Mismatch` where our container does not do what was recorded.

    Nothing of any stream may be left afterwards, whether it was stopped or only abandoned.
    """
    script = Script()
    capacity = max(1, (scenario.registration or {}).get("capacity", 1))
    async with served(pipeline_for(script), capacity) as (service, port):
        assert isinstance(service.work, LiveWork)
        service.work.linger = 0
        player = Player(port, service.work, script, trickle)
        try:
            await player.play(scenario)
        finally:
            await player.aclose()
        async with asyncio.timeout(2 * LIMIT):
            for session in list(service.work.sessions.running):
                await session.wait()
        assert service.lifecycle.slots.taken == 0
