"""The end of several things that are open: each is closed, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from typing import Protocol

from livepeer.client.exceptions import LivepeerError
from livepeer.trickle.exceptions import TrickleError


class Closable(Protocol):
    """Something that is open until it is closed, which may be repeated."""

    async def aclose(self) -> None: ...


async def close_each(parts: Collection[Closable], limit: float) -> None:
    """Close one after the other, `limit` seconds for each. A caller that is cancelled at one of
    them leaves once the others are closed too."""
    async with contextlib.AsyncExitStack() as stack:
        for part in reversed(tuple(parts)):  # the stack begins with the last
            stack.push_async_callback(_close, part, limit)


async def _close(part: Closable, limit: float) -> None:
    with contextlib.suppress(TrickleError, LivepeerError, OSError, TimeoutError):
        async with asyncio.timeout(limit):
            await part.aclose()
