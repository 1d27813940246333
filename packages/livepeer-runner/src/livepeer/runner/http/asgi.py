"""Reading requests and writing responses at the ASGI level, where `/predict` spends its time.

A plain ASGI endpoint costs a third of a FastAPI one, and the request is still parsed by the very
model that the documentation shows.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from livepeer.runner.errors import (
    InvalidInput,
    JobError,
    OverCapacity,
    PayloadTooLarge,
    error_body,
)

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("livepeer.runner.access")
# What platforms ask every few seconds would hide the rest.
PROBES = frozenset({"/health", "/ready", "/metrics"})

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

# Longest pause between two pieces of a request's body.
BODY_STALL_SECONDS = 30.0
# Bytes a second: what comes more slowly, for longer than a pause, is meant to.
BODY_RATE = 32 * 1024
BODY_FREE_BYTES = 64 * 1024
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")


class CallerLeft(Exception):
    """The caller closed the connection before its answer."""


PAYMENTS = frozenset({b"livepeer-payment", b"livepeer-segment"})
"""Headers with tickets of a caller, which go-livepeer's proxy passes on with a request that is paid
by itself. They are worth money, and no business of a pipeline's."""


class EntryPoint:
    """The outermost layer: an id for every request, in and out, paths as they were meant, and no
    payments.

    An orchestrator joins `{url}/{route}`, so a registered URL that ends in a slash gives
    `//predict`, and it keeps a slash at the end of the caller's route (go-livepeer: BYOC job
    forwarding). A 404 would be final, a redirect would carry the bearer token: neither is due.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if path.startswith("//") or path.endswith("/"):
            scope["path"] = "/" + path.strip("/")
        if any(name in PAYMENTS for name, _ in scope["headers"]):
            scope["headers"] = [each for each in scope["headers"] if each[0] not in PAYMENTS]
        given = header(scope, b"x-request-id")
        request_id = given if _REQUEST_ID.fullmatch(given) else os.urandom(12).hex().encode()
        scope["livepeer.request_id"] = request_id.decode("ascii")

        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        level = logging.DEBUG if scope["path"] in PROBES else logging.INFO
        if not access_logger.isEnabledFor(level):
            await self._app(scope, receive, send_with_id)
            return
        started = time.monotonic()
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            access_logger.log(
                level,
                "%s %s %s %s %.3f s",
                (scope.get("client") or ("-",))[0],
                scope["method"],
                scope["path"],
                status or "no answer",
                time.monotonic() - started,
                extra={"job_id": scope["livepeer.request_id"]},
            )


def header(scope: Scope, name: bytes) -> bytes:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""


class BodyBudget:
    """Bytes that all bodies may hold together which have no slot: arriving, or waiting for one.

    A caller gets no slot before its body is here: slots would be cheaper to block than this is to
    fill. What fits into `BODY_FREE_BYTES` is always read, so that small bodies are never kept out.
    """

    def __init__(self, most: int) -> None:
        self.left = most

    @contextmanager
    def hold(self) -> Iterator[HeldBody]:
        held = HeldBody(self)
        try:
            yield held
        finally:
            self.left += held.taken


class HeldBody:
    """What one body has of a budget."""

    __slots__ = ("_budget", "_free", "taken")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._free = BODY_FREE_BYTES
        self.taken = 0

    def take(self, size: int) -> None:
        free = min(size, self._free)
        self._free -= free
        size -= free
        if size > self._budget.left:
            raise OverCapacity("too many large bodies are being read", retry_after=1)
        self._budget.left -= size
        self.taken += size


async def read_body(
    scope: Scope, receive: Receive, limit: int, *, held: HeldBody | None = None
) -> bytes:
    """The whole body. Raises `PayloadTooLarge`, `CallerLeft`, `InvalidInput` for one that stalls,
    `OverCapacity` for one that does not fit into its budget.

    Without `held` it is read and forgotten: an answer before the end of the body could be taken for
    a broken connection, and a broken connection drops the capability at the orchestrator.
    """
    length = header(scope, b"content-length")
    if length.isdigit() and (len(length) > 18 or int(length) > limit):
        raise PayloadTooLarge(f"the body has {length[:18].decode()} bytes, the limit is {limit}")
    chunks: list[bytes] = []
    size = 0
    loop = asyncio.get_running_loop()
    started = loop.time()
    while True:
        late = started + BODY_STALL_SECONDS + size / BODY_RATE
        try:
            async with asyncio.timeout_at(min(late, loop.time() + BODY_STALL_SECONDS)):
                message = await receive()
        except TimeoutError:
            raise InvalidInput(
                f"the body arrives too slowly: {size} bytes after {loop.time() - started:.0f} s"
            ) from None
        if message["type"] == "http.disconnect":
            raise CallerLeft
        body: bytes = message.get("body", b"")
        size += len(body)
        if size > limit:
            raise PayloadTooLarge(f"the body is over the limit of {limit} bytes")
        if held is not None and body:
            held.take(len(body))
            chunks.append(body)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def respond(
    send: Send,
    body: bytes,
    *,
    status: int = 200,
    media_type: bytes = b"application/json",
    headers: list[Header] | None = None,
) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", media_type),
                (b"content-length", str(len(body)).encode()),
                *(headers or ()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def respond_error(send: Send, error: JobError) -> None:
    await respond(send, error_body(error), status=error.status, headers=error.headers())
