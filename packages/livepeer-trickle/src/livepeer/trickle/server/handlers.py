"""One request in, one answer out: paths and methods of the protocol, and who may use them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

from livepeer.trickle.protocol import wire
from livepeer.trickle.server.answers import answer, drain
from livepeer.trickle.server.limits import LimitExceeded
from livepeer.trickle.server.listener import begin
from livepeer.trickle.server.publish import publish
from livepeer.trickle.server.registry import Registry
from livepeer.trickle.server.subscribe import subscribe

AccessKind = Literal["create", "publish", "subscribe", "delete"]


@dataclass(frozen=True, slots=True)
class Access:
    """What a client is about to do; a hook looks at it before anything is done or disclosed."""

    action: AccessKind
    """`create` a channel, `publish` a segment, `subscribe` (read, and the next write number),
    `delete` a segment or a channel. Publishing where the server auto-creates is only `publish`."""
    channel: str
    request: web.BaseRequest = field(repr=False)  # its headers may hold secrets
    """The request: headers, peer address, TLS. Its body must be left alone."""


Authorize = Callable[[Access], bool | Awaitable[bool]]
"""Returns whether it may happen; the client is told 403 where it may not."""


_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FEED = "The change feed is the server's own\n"
_SEGMENT_METHODS: dict[str, AccessKind] = {
    "GET": "subscribe",
    "HEAD": "subscribe",
    "POST": "publish",
    "DELETE": "delete",
}
_CHANNEL_METHODS: dict[str, AccessKind] = {"POST": "create", "DELETE": "delete"}


class TrickleHandler:
    """Answers the requests below `base_path`, for aiohttp's low-level server or a route of its
    applications. It looks at the raw path: `%2F` is a letter of a name."""

    def __init__(
        self,
        registry: Registry,
        *,
        base_path: str = "/",
        autocreate: bool = True,
        authorize: Authorize | None = None,
        cors: str | Collection[str] | None = None,
    ) -> None:
        self._registry = registry
        self._base_path = base_path
        self._autocreate = autocreate
        self._authorize = authorize
        self._cors = cors

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        begin(request)
        try:
            return await self._answer(request)
        except ConnectionError:
            if request.transport is not None and not request.transport.is_closing():
                raise
            # Clients come and go: nothing that aiohttp has to log. The answer goes nowhere.
            return web.Response()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = _cross_origin(self._cors, request) if self._cors is not None else {}
        path = _path(request)
        target = None if _bad_escape(path) else wire.parse_path(path, self._base_path)
        if target is None or target.channel in (".", ".."):
            await drain(request)
            if _bad_escape(path):
                return answer(400, "Bad Request\n", close=True)
            if path == "*" and request.method == "OPTIONS":
                return answer(200)
            return answer(404, wire.TEXT_NOT_FOUND)
        methods = _CHANNEL_METHODS if target.segment is None else _SEGMENT_METHODS
        action = methods.get(request.method)
        if action is None:
            await drain(request)
            if request.method == "OPTIONS" and "Access-Control-Allow-Methods" in headers:
                return answer(204, headers=headers)
            headers["Allow"] = ", ".join(sorted(methods))
            return answer(405, "Method Not Allowed\n", headers)
        try:
            if self._authorize is not None and not await _is_allowed(
                self._authorize, Access(action, target.channel, request)
            ):
                return answer(403, "Forbidden\n", headers, close=True)
            if action == "subscribe":
                return await self._subscribe(request, target, headers)
            if action == "publish":
                return await self._publish(request, target, headers)
            done = self._create if action == "create" else self._delete
            response = done(request, target, headers)
        except LimitExceeded as error:
            return answer(error.status, f"{error}\n", headers, close=True)
        await drain(request)
        return response

    def _create(
        self, request: web.BaseRequest, target: wire.Target, headers: dict[str, str]
    ) -> web.Response:
        name = target.channel
        if self._autocreate:
            self._registry.create(name, request.headers.get(wire.EXPECT_CONTENT, ""))
        elif self._registry.get(name) is None:
            return answer(404, wire.TEXT_NO_CHANNEL, headers)
        return answer(200, headers=headers)

    def _delete(
        self, request: web.BaseRequest, target: wire.Target, headers: dict[str, str]
    ) -> web.Response:
        channel = self._registry.get(target.channel)
        if self._registry.is_feed(channel):
            return answer(403, _FEED, headers)
        if target.segment is None:
            if channel is None:
                return answer(400, wire.TEXT_BAD_CHANNEL, headers)
            channel.close()
            return answer(200, headers=headers)
        if channel is None:
            return answer(404, wire.TEXT_NO_CHANNEL, headers)
        seq = target.seq
        if seq is None:
            return answer(400, wire.TEXT_BAD_SEQUENCE, headers)
        if not channel.delete_segment(seq):
            return answer(400, wire.TEXT_MISSING_SEGMENT, headers)
        return answer(200, headers=headers)

    async def _subscribe(
        self, request: web.BaseRequest, target: wire.Target, headers: dict[str, str]
    ) -> web.StreamResponse:
        await drain(request)
        channel = self._registry.get(target.channel)
        if channel is None:
            return answer(404, wire.TEXT_NO_CHANNEL, headers)
        if target.is_next:
            number = str(channel.next_seq)
            return answer(200, number, {**headers, wire.LATEST: number})
        seq = target.seq
        if seq is None or seq < wire.CURRENT_WRITE:
            return answer(400, wire.TEXT_BAD_SEQUENCE, headers)
        return await subscribe(request, channel, seq, headers)

    async def _publish(
        self, request: web.BaseRequest, target: wire.Target, headers: dict[str, str]
    ) -> web.StreamResponse:
        channel = self._registry.get(target.channel)
        if channel is None and self._autocreate:
            mime_type = request.headers.get(wire.CONTENT_TYPE, "")
            channel = self._registry.create(target.channel, mime_type)
        # Told at once, with close: the body of a preconnected POST may stay open for long.
        if channel is None:
            return answer(404, wire.TEXT_NO_CHANNEL, headers, close=True)
        if self._registry.is_feed(channel):
            return answer(403, _FEED, headers, close=True)
        # The reference drops the connection below -1, and overflows its counter at the largest.
        seq = target.seq
        if seq is None or not wire.NEXT_WRITE <= seq < wire.MAX_SEQ:
            await drain(request)
            return answer(400, wire.TEXT_BAD_SEQUENCE, headers)
        return await publish(request, channel, seq, headers)


def _bad_escape(path: str) -> bool:
    return "%" in path and _BAD_ESCAPE.search(path) is not None


def _path(request: web.BaseRequest) -> str:
    """The path as it came: no query, no scheme and host of a request through a proxy."""
    path = request.raw_path.partition("?")[0]
    if path.startswith(("http://", "https://")):
        path = "/" + path.split("/", 3)[3] if path.count("/") > 2 else "/"
    return path


async def _is_allowed(authorize: Authorize, access: Access) -> bool:
    """Ask the hook, which may be a plain or an async function."""
    verdict = authorize(access)
    if inspect.isawaitable(verdict):
        verdict = await verdict
    return bool(verdict)


def _cross_origin(
    origins: str | Collection[str] | None, request: web.BaseRequest
) -> dict[str, str]:
    """The headers that let a page of an allowed origin read the answer; none without `Origin`."""
    origin = request.headers.get("Origin")
    if origins is None or origin is None:
        return {}
    if origins != "*" and origin not in ((origins,) if isinstance(origins, str) else origins):
        return {"Vary": "Origin"}
    headers = {
        "Access-Control-Allow-Origin": "*" if origins == "*" else origin,
        "Access-Control-Expose-Headers": ", ".join((wire.SEQ, wire.LATEST, wire.CLOSED)),
    }
    if origins != "*":
        headers["Vary"] = "Origin"
    if "Access-Control-Request-Method" in request.headers:
        headers["Access-Control-Allow-Methods"] = "GET, HEAD, POST, DELETE"
        headers["Access-Control-Allow-Headers"] = ", ".join(
            ("Authorization", wire.CONTENT_TYPE, wire.EXPECT_CONTENT, wire.RESET)
        )
        headers["Access-Control-Max-Age"] = "600"
    return headers
