"""The requests of a live stream, by either road: start, update, status, stop. No media here."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from livepeer.client.deadline import Deadline
from livepeer.client.exceptions import (
    LivepeerError,
    NoOrchestratorError,
    PipelineError,
    ProtocolError,
    SessionEndedError,
)
from livepeer.client.http import SMALL, Http, Pools, read
from livepeer.client.jobs import Dispatcher, Running, Task
from livepeer.client.tls import Trust
from livepeer.client.values import encode
from livepeer.client.wire import compact_json

log = logging.getLogger("livepeer.client")

START_LIMIT: Final = 120.0
CALL_LIMIT: Final = 20.0
STOP_LIMIT: Final = 10.0
KNOWN_LIMIT: Final = 2.0
DATA_LIMIT: Final = 24 * 3600.0

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a session is to be: its parameters and the channels that it needs."""

    capability: str
    params: Mapping[str, Any] | None = None
    model: str | None = None
    publish: bool = True
    subscribe: bool = True
    data: bool = True

    def parameters(self) -> str:
        """For the `Livepeer` header; what is off is left out."""
        flags = {
            "enable_video_ingress": self.publish,
            "enable_video_egress": self.subscribe,
            "enable_data_output": self.data,
        }
        return compact_json({name: True for name, on in flags.items() if on})


@dataclass(frozen=True, slots=True)
class Live:
    """A started stream. Its URLs are trickle channels of an orchestrator, or, by a gateway, its
    HTTP endpoints; which of them there are depends on what was asked for."""

    stream_id: str
    capability: str
    base: str
    gateway: bool
    publish_url: str | None = None
    subscribe_url: str | None = None
    control_url: str | None = None
    events_url: str | None = None
    data_url: str | None = None
    urls: Mapping[str, str] = field(default_factory=dict)
    #: It costs something, and it is this side that pays.
    priced: bool = False


class LiveCalls:
    """Starts streams and speaks of them to whoever runs them."""

    def __init__(self, dispatcher: Dispatcher, pools: Pools, trust: Trust, gateway: str | None):
        self._dispatcher, self._pools, self._trust = dispatcher, pools, trust
        self._gateway = gateway

    @property
    def trust(self) -> Trust:
        return self._trust

    async def start(self, wanted: Wanted, stream_id: str, deadline: Deadline) -> Live:
        """Start a stream. Where it is not known whether it did start, it is told to stop."""
        http = await self._pools.current()
        params = None if wanted.params is None else encode(wanted.params)
        if self._gateway:
            # go-livepeer's gateway wants the parameters as a text that is JSON.
            text = "" if params is None else compact_json(params)
            body: Any = {"stream_id": stream_id, "params": text}
            path = "/process/stream/start"
        else:
            body, path = {"params": params}, "/ai/stream/start"
        asked: list[str] = []
        task = Task(
            wanted.capability,
            compact_json(body).encode(),
            JSON,
            model=wanted.model,
            path=path,
            job_id=stream_id,
            parameters=wanted.parameters(),
            sending=asked.append,
        )
        try:
            running = await self._dispatcher.start(http, task, deadline)
            base = str(running.where["orchestrator"])
            answer = await read(running.response, deadline, limit=SMALL, where=running.where)
            if self._gateway:
                return _by_gateway(wanted, base, answer, running)
            return _by_orchestrator(wanted, base, stream_id, running)
        except BaseException as error:
            # Also of a start that its caller gave up nobody else would tell the one who was asked.
            refused = isinstance(error, LivepeerError) and not error.may_have_run
            if asked and not refused:
                live = Live(stream_id, wanted.capability, asked[-1], bool(self._gateway))
                said = http.farewells.say(partial(self.stop, http, live, "its start was given up"))
                if isinstance(error, LivepeerError):
                    await asyncio.shield(said)
            raise

    async def update(self, live: Live, params: Mapping[str, Any]) -> Any:
        """Change parameters; the container's answer. Raises with its fields where it refuses, and
        `SessionEndedError` where there is no such stream any more."""
        path = f"/process/stream/{quote(live.stream_id)}/update"
        http = await self._pools.current()
        try:
            return await self._ask(
                http, live, "/ai/stream/update", path, encode(params), CALL_LIMIT
            )
        except PipelineError as error:
            if error.status != 404:
                raise
            raise SessionEndedError(
                "there is no such stream any more: it ended, or (by a gateway, which does not tell)"
                f" never started: {error}",
                capability=live.capability,
                orchestrator=live.base,
                job_id=live.stream_id,
                status=404,
            ) from error

    async def pay(self, live: Live) -> None:
        """Pay for the time that comes. Raises `PaymentRequiredError` where there is no means to."""
        http = await self._pools.current()
        await self._ask(http, live, "/ai/stream/payment", "", {}, CALL_LIMIT, pay=True)

    async def leave(self, live: Live) -> None:
        """End the stream; the orchestrator is told also where whoever waits is cancelled."""
        http = await self._pools.current()
        await asyncio.shield(http.farewells.say(partial(self.stop, http, live, "its caller left")))

    async def stop(self, http: Http, live: Live, reason: str) -> None:
        """End the stream; a failure is logged, since there is nothing else to be done about it.

        `linger`: nobody on this side reads any more (specs/live.md).
        """
        path = f"/process/stream/{quote(live.stream_id)}/stop"
        body = {"reason": reason, "linger": 0}
        try:
            await self._ask(http, live, "/ai/stream/stop", path, body, STOP_LIMIT)
        except LivepeerError as error:
            if error.status == 404:
                log.debug("stream %s was over already", live.stream_id)
            else:
                log.warning("stream %s may go on: %s", live.stream_id, error)

    async def status(self, live: Live) -> dict[str, Any]:
        """A gateway's view of the stream. An orchestrator has none: its events tell."""
        http, deadline = await self._pools.current(), Deadline(CALL_LIMIT)
        url = f"{live.base}/process/stream/{quote(live.stream_id)}/status"
        where: dict[str, Any] = {"orchestrator": live.base, "capability": live.capability}
        reply = await http.fetch(
            "GET", url, ssl=self._trust.for_peer(), deadline=deadline, where=where
        )
        if reply.status != 200:
            raise NoOrchestratorError(
                f"the gateway has no status of stream {live.stream_id}",
                status=reply.status,
                **where,
            )
        value = _json(reply.body)
        return value if isinstance(value, dict) else {}

    async def known(self, live: Live) -> bool:
        """Does the orchestrator still have the stream? Taken for granted where it does not answer.

        Its control channel is there from the start to the stop, whatever the pipeline does.
        """
        http = await self._pools.current()
        try:
            reply = await http.fetch(
                "GET",
                f"{live.control_url}/next",
                ssl=self._trust.for_peer(),
                deadline=Deadline(KNOWN_LIMIT),
                where={"orchestrator": live.base},
            )
        except LivepeerError as error:
            log.debug("stream %s: %s", live.stream_id, error)
            return True
        return reply.status != 404

    async def open_data(self, live: Live) -> Any:
        """A gateway's event stream of the data channel, its headers received."""
        http: Http = await self._pools.current()
        return await http.open(
            "GET",
            live.data_url or "",
            ssl=self._trust.for_peer(),
            # Headers come with the first record, whenever that is.
            deadline=Deadline(DATA_LIMIT),
            where={"orchestrator": live.base, "capability": live.capability},
        )

    async def _ask(
        self,
        http: Http,
        live: Live,
        direct: str,
        by_gateway: str,
        body: Any,
        limit: float,
        *,
        pay: bool = False,
    ) -> Any:
        deadline = Deadline(limit)
        task = Task(
            live.capability,
            compact_json(body).encode(),
            JSON,
            path=by_gateway if live.gateway else direct,
            request=compact_json({"stream_id": live.stream_id}),
        )
        running = await self._dispatcher.ask(http, task, live.base, deadline, pay=pay)
        answer = await read(running.response, deadline, limit=SMALL, where=running.where)
        return _json(answer)


def _by_orchestrator(wanted: Wanted, base: str, stream_id: str, running: Running) -> Live:
    headers = running.headers
    live = Live(
        stream_id,
        wanted.capability,
        base,
        gateway=False,
        # Named from the orchestrator's side in the wire: what it publishes we subscribe to.
        publish_url=headers.get("X-Publish-Url"),
        subscribe_url=headers.get("X-Subscribe-Url"),
        control_url=headers.get("X-Control-Url"),
        events_url=headers.get("X-Events-Url"),
        data_url=headers.get("X-Data-Url"),
        priced=running.priced,
    )
    missing = [
        name
        for name, on, url in (
            ("X-Control-Url", True, live.control_url),
            ("X-Events-Url", True, live.events_url),
            ("X-Publish-Url", wanted.publish, live.publish_url),
            ("X-Subscribe-Url", wanted.subscribe, live.subscribe_url),
            ("X-Data-Url", wanted.data, live.data_url),
        )
        if on and not url
    ]
    if missing:
        raise running.failed(
            ProtocolError(
                f"the stream was started without {', '.join(missing)}",
                may_have_run=True,
                **running.where,
            )
        )
    return live


def _by_gateway(wanted: Wanted, base: str, answer: bytes, running: Running) -> Live:
    told = _json(answer)
    stream_id = told.get("stream_id") if isinstance(told, dict) else None
    if not isinstance(stream_id, str) or not stream_id:
        raise running.failed(
            ProtocolError(
                "the gateway did not say which stream it started",
                may_have_run=True,
                **running.where,
            )
        )
    # The URLs in the answer claim https at a host that the gateway guesses, even where it serves
    # plain http: only what is at another server is taken from there.
    root = f"{base}/process/stream/{quote(stream_id)}"
    media = {
        name: told[name] for name in ("whep_url", "rtmp_url", "rtmp_output_url") if told.get(name)
    }
    if wanted.publish:
        media["whip_url"] = f"{root}/whip"
    data_url = f"{root}/data" if wanted.data else None
    return Live(stream_id, wanted.capability, base, True, data_url=data_url, urls=media)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace") or None
