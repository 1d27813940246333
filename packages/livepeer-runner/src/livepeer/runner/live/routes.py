"""The three stream routes, start, params and stop, as ASGI endpoints."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from starlette.routing import Route

from livepeer.runner.attach.callers import Caller
from livepeer.runner.errors import JobError, NotReady, RouteNotFound
from livepeer.runner.http.asgi import (
    BodyBudget,
    CallerLeft,
    Receive,
    Scope,
    Send,
    header,
    read_body,
    respond,
    respond_error,
)
from livepeer.runner.http.json_bounds import check_values
from livepeer.runner.live.params import ParamsType
from livepeer.runner.live.request import (
    ChannelUrls,
    StartRequest,
    checked_id,
    id_in_body,
    key_of,
    parse_object,
    reads_no_more,
)
from livepeer.runner.live.session import Session
from livepeer.runner.live.sessions import Sessions
from livepeer.runner.running.execution import disconnected
from livepeer.runner.running.service import Service
from livepeer.runner.running.slots import Slot

STOP_ANSWER_SECONDS = 20.0
"""How long `stream/stop` waits for the stream's last frames before it answers."""


@dataclass(frozen=True, slots=True)
class StreamCall:
    """One request on a stream route."""

    scope: Scope
    receive: Receive
    caller: Caller | None
    """None if the container is open to all."""
    body: bytes
    calling: ExitStack
    """Held as long as the work of this call goes on."""

    @property
    def owner(self) -> str:
        """Whose streams it reaches; empty if the container is open to all."""
        return "" if self.caller is None else self.caller.owner

    @property
    def stream_id(self) -> str:
        """What `X-Stream-Id` says, else the session of a live runner, or ""."""
        said = header(self.scope, b"x-stream-id").decode("latin-1")
        return said or ("" if self.caller is None else self.caller.session)

    @property
    def key(self) -> str:
        return key_of(self.owner, self.stream_id)


StreamHandler = Callable[[StreamCall], Awaitable[bytes]]
ChannelSource = Callable[
    [StreamCall, dict[str, Any]], Awaitable[tuple[ChannelUrls, dict[str, str]]]
]
"""Gives the channels of a stream that `call` starts, with its body, and by name the URLs that its
caller has to be told. Raises `InvalidInput`."""
OpenStream = Callable[[StartRequest, ExitStack, Slot | None], Session]
"""Starts a stream: `LiveWork.open`."""


class StreamRoutes:
    """What an orchestrator may do with the streams that it started, and with no other's."""

    def __init__(
        self,
        service: Service,
        sessions: Sessions,
        params: ParamsType,
        *,
        channels: ChannelSource,
        open_stream: OpenStream,
    ) -> None:
        self._service = service
        self._sessions = sessions
        self._params_type = params
        self._channels = channels
        self._open = open_stream
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        """Starts that have no slot yet, by key; the event says that the stream was stopped."""

    def routes(self) -> Sequence[Route]:
        endpoints = {
            "start": StreamRoute(self._service, self._start),
            "params": StreamRoute(self._service, self._params),
            "stop": StreamRoute(self._service, self._stop, any_body=True),
        }
        return [Route(f"/stream/{name}", endpoints[name], methods=["POST"]) for name in endpoints]

    async def _start(self, call: StreamCall) -> bytes:
        refusal = self._service.lifecycle.refusal()
        if isinstance(refusal, NotReady):
            raise refusal
        request, told = await self._request(call)
        slot = None
        if request.key not in self._sessions:
            self._params_type.first(request.params)  # an error in them is told before the wait
            slot = await self._slot(call, request.key)
        begun: list[Session] = []

        def over() -> None:
            for one in begun:
                one.end("its session is over")

        if call.caller is not None:
            call.calling.callback(call.caller.when_ended(over))
        try:
            session = self._open(request, call.calling, slot)
        except BaseException:
            if slot is not None:
                slot.release()
            raise
        begun.append(session)
        return _ok(stream_id=session.id, **({"channels": told} if told else {}))

    async def _request(self, call: StreamCall) -> tuple[StartRequest, dict[str, str]]:
        content = parse_object(call.body)
        urls, told = await self._channels(call, content)
        name = checked_id(call.stream_id or id_in_body(content) or uuid.uuid4().hex)
        if not call.stream_id and key_of(call.owner, name) in self._sessions:
            # A body is the caller's own: it may name a stream, but never take one over.
            name = uuid.uuid4().hex
        return StartRequest(name, content.get("params"), urls, call.owner), told

    async def _slot(self, call: StreamCall, key: str) -> Slot:
        """Its turn, unless the caller leaves, or stops the stream, before that."""
        stopped = asyncio.Event()
        self._waiting[key].add(stopped)

        async def left() -> None:
            tasks = [asyncio.create_task(disconnected(call.receive))]
            tasks.append(asyncio.create_task(_set(stopped)))
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

        try:
            return await self._service.admission.slot(left)
        except CallerLeft:
            if stopped.is_set():
                raise RouteNotFound("the stream was stopped before it could begin") from None
            raise
        finally:
            waiting = self._waiting[key]
            waiting.discard(stopped)
            if not waiting:
                del self._waiting[key]

    async def _params(self, call: StreamCall) -> bytes:
        session = self._sessions.get(call.key)
        if session is None or session.ending:
            raise RouteNotFound("no such stream runs here; X-Stream-Id names one")
        params = session.update(parse_object(call.body))
        return _ok(stream_id=session.id, params=params)

    async def _stop(self, call: StreamCall) -> bytes:
        """Its body is anything, and it comes two or three times (go-livepeer: BYOC stream stop)."""
        for waiting in self._waiting.get(call.key, ()):
            waiting.set()
        session = self._sessions.get(call.key)
        if session is not None:
            if reads_no_more(call.body):
                session.stream.channels.nobody_behind()
            session.end("it was stopped")
            await session.wait(STOP_ANSWER_SECONDS)
        return _ok()


class StreamRoute:
    """The ASGI endpoint around one of the three: who may call, the body, and errors as answers.

    `any_body`: a body that cannot be read counts as empty, because the answer does not depend on
    it.
    """

    def __init__(self, service: Service, answer: StreamHandler, *, any_body: bool = False) -> None:
        self._service = service
        self._answer = answer
        self._any_body = any_body
        self._limit = service.settings.limits.max_body
        # These take no slot, so nothing else bounds how many are read at once.
        self._bodies = BodyBudget(self._limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with ExitStack() as calling:
                caller = calling.enter_context(self._service.caller(scope))
                body = await self._body(scope, receive)
                call = StreamCall(scope, receive, caller, body, calling)
                content = await self._answer(call)
        except CallerLeft:
            return
        except JobError as error:
            self._service.metrics.error(error.type)
            await respond_error(send, error)
        else:
            await respond(send, content)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        try:
            with self._bodies.hold() as held:
                body = await read_body(scope, receive, self._limit, held=held)
                await check_values(body)
        except JobError:
            if not self._any_body:
                raise
            return b""
        return body


def _ok(**content: Any) -> bytes:
    """The body of a stream route that worked; go-livepeer passes on that of params alone."""
    return json.dumps({"status": "ok", **content}, default=str).encode()


async def _set(event: asyncio.Event) -> None:
    await event.wait()
