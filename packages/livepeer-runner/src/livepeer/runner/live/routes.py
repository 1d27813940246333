"""The three stream routes: start, params and stop."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.routing import Route

from livepeer.runner.errors import NotReady, RouteNotFound
from livepeer.runner.http.asgi import CallerLeft, header
from livepeer.runner.live import documents
from livepeer.runner.live.addresses import Allowed
from livepeer.runner.live.request import (
    StartRequest,
    key_of,
    parse_object,
    parse_start,
    reads_no_more,
)
from livepeer.runner.live.route import StreamCall, StreamRoute
from livepeer.runner.live.session import Session
from livepeer.runner.running.execution import disconnected
from livepeer.runner.running.slots import Slot

if TYPE_CHECKING:
    from livepeer.runner.live.work import LiveWork

STOP_ANSWER_SECONDS = 20.0
"""How long `stream/stop` waits for the stream's last frames before it answers."""


class StreamRoutes:
    """What an orchestrator may do with the streams that it started, and with no other's."""

    def __init__(self, work: LiveWork) -> None:
        self._work = work
        self._service = work.service
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        """Starts that have no slot yet; the event says that they were stopped."""

    def routes(self) -> Sequence[Route]:
        return [
            Route(
                f"/stream/{name}",
                StreamRoute(self._service, answer, any_body=name == "stop"),
                methods=["POST"],
            )
            for name, answer in (
                ("start", self._start),
                ("params", self._params),
                ("stop", self._stop),
            )
        ]

    async def _start(self, call: StreamCall) -> bytes:
        refusal = self._service.lifecycle.refusal()
        if isinstance(refusal, NotReady):
            raise refusal
        named = _stream_id(call)
        request = parse_start(
            call.body,
            named,
            self._allowed(call.owner),
            fallback_id=uuid.uuid4().hex,
            owner=call.owner,
        )
        if not named and request.key in self._work.sessions:
            # A body is the caller's own: it may name a stream, but never take one over.
            request = replace(request, stream_id=uuid.uuid4().hex)
        slot = None
        if request.key not in self._work.sessions:
            self._work.parameters.first(request.params)  # what is wrong with them need not wait
            slot = await self._slot(call, request)
        try:
            session = self._work.open(request, call.calling, slot)
        except BaseException:
            if slot is not None:
                slot.release()
            raise
        return documents.answer(stream_id=session.id)

    async def _slot(self, call: StreamCall, request: StartRequest) -> Slot:
        """Its turn, unless the caller leaves, or stops the stream, before it has come."""
        stopped = asyncio.Event()
        self._waiting[request.key].add(stopped)

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
            waiting = self._waiting[request.key]
            waiting.discard(stopped)
            if not waiting:
                del self._waiting[request.key]

    async def _params(self, call: StreamCall) -> bytes:
        session = self._session(call)
        if session is None or session.ending:
            raise RouteNotFound("no such stream runs here; X-Stream-Id names one")
        params = session.update(parse_object(call.body))
        return documents.answer(stream_id=session.id, params=params)

    async def _stop(self, call: StreamCall) -> bytes:
        """Its body is anything, and it comes two or three times (go-livepeer: BYOC stream stop)."""
        for waiting in self._waiting.get(key_of(call.owner, _stream_id(call)), ()):
            waiting.set()
        session = self._session(call)
        if session is not None:
            if reads_no_more(call.body):
                session.nobody_behind()
            session.end("it was stopped")
            await session.wait(STOP_ANSWER_SECONDS)
        return documents.answer()

    def _session(self, call: StreamCall) -> Session | None:
        return self._work.sessions.get(key_of(call.owner, _stream_id(call)))

    def _allowed(self, owner: str) -> Allowed | None:
        """Where a registered container may be sent to; None where it is not registered."""
        if self._service.settings.registration is None:
            return None
        return Allowed.at(owner, self._service.settings.trickle_hosts)


def _stream_id(call: StreamCall) -> str:
    return header(call.scope, b"x-stream-id").decode("latin-1")


async def _set(event: asyncio.Event) -> None:
    await event.wait()
