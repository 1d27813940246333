"""Who may do what: the authorisation hook, and cross-origin headers for browsers."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

from livepeer.trickle.protocol import wire

Action = Literal["create", "publish", "subscribe", "delete"]


@dataclass(frozen=True, slots=True)
class Access:
    """What a client is about to do; a hook looks at it before anything is done or disclosed."""

    action: Action
    """`create` a channel, `publish` a segment, `subscribe` (read, and the next write number),
    `delete` a segment or a channel. Publishing where the server auto-creates is only `publish`."""
    channel: str
    request: web.BaseRequest = field(repr=False)  # its headers may hold secrets
    """The request: headers, peer address, TLS. Its body must be left alone."""


Authorize = Callable[[Access], bool | Awaitable[bool]]
"""Returns whether it may happen; the client is told 403 where it may not."""


async def is_allowed(authorize: Authorize, access: Access) -> bool:
    """Ask the hook, which may be a plain or an async function."""
    verdict = authorize(access)
    if inspect.isawaitable(verdict):
        verdict = await verdict
    return bool(verdict)


def cross_origin(origins: str | Collection[str] | None, request: web.BaseRequest) -> dict[str, str]:
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
