"""A stream route as an ASGI endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass

from livepeer.runner.errors import JobError
from livepeer.runner.http.asgi import (
    BodyBudget,
    CallerLeft,
    Receive,
    Scope,
    Send,
    read_body,
    respond,
)
from livepeer.runner.http.asgi import respond_error as refuse
from livepeer.runner.http.json_bounds import check_values
from livepeer.runner.running.service import Service


@dataclass(frozen=True, slots=True)
class StreamCall:
    """One request on a stream route."""

    scope: Scope
    receive: Receive
    owner: str
    """The address of the orchestrator that calls; empty where the container is not registered."""
    body: bytes
    calling: ExitStack
    """Held as long as the work of this call goes on."""


Answer = Callable[[StreamCall], Awaitable[bytes]]


class StreamRoute:
    """An ASGI endpoint around one of the three: who may call, the body, and errors as answers.

    `any_body`: one that cannot be read counts as empty, since what is asked for does not hang on
    it.
    """

    def __init__(self, service: Service, answer: Answer, *, any_body: bool = False) -> None:
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
                owner = "" if caller is None else caller.url
                body = await self._body(scope, receive)
                call = StreamCall(scope, receive, owner, body, calling)
                content = await self._answer(call)
        except CallerLeft:
            return
        except JobError as error:
            self._service.metrics.error(error.type)
            await refuse(send, error)
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
