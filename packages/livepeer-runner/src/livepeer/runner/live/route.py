"""The three stream routes as ASGI endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from livepeer.runner.asgi import BodyBudget, CallerLeft, Receive, Scope, Send, read_body, respond
from livepeer.runner.asgi import respond_error as refuse
from livepeer.runner.errors import JobError
from livepeer.runner.json_bounds import check_values
from livepeer.runner.service import Service

Answer = Callable[[Scope, Receive, bytes, ExitStack], Awaitable[bytes]]


class StreamRoute:
    """An ASGI endpoint around one of the three: who may call, the body, and errors as answers."""

    def __init__(self, service: Service, answer: Answer) -> None:
        self._service = service
        self._answer = answer
        self._limit = service.settings.limits.max_body
        # These take no slot, so nothing else bounds how many are read at once.
        self._bodies = BodyBudget(self._limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with ExitStack() as calling:
                calling.enter_context(self._service.caller(scope))
                with self._bodies.hold() as held:
                    body = await read_body(scope, receive, self._limit, held=held)
                    await check_values(body)
                content = await self._answer(scope, receive, body, calling)
        except CallerLeft:
            return
        except JobError as error:
            self._service.metrics.error(error.type)
            await refuse(send, error)
        else:
            await respond(send, content)
