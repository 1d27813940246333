"""The connections of a gateway: an `Http` for each event loop that it is used in."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncGenerator

from livepeer.client.http.requests import Http

_Kept = dict[asyncio.AbstractEventLoop, tuple[Http, AsyncGenerator[Http]]]
"""An `Http` for each loop, and what closes it."""


class Pools:
    """An `Http` for each event loop that a gateway is used in, closed with that loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: _Kept = {}
        # For a gateway that is dropped while its loop runs. The finalizer keeps the connections
        # alive until then: the collector would call their own finalizers, which complain, first.
        self._dropped = weakref.finalize(self, _close_soon, self._kept)
        self._dropped.atexit = False

    async def current(self) -> Http:
        loop = asyncio.get_running_loop()
        if kept := self._kept.get(loop):
            return kept[0]
        # A loop closes the async generators it has met before it is closed itself: so `asyncio.run`
        # leaves no connection behind, even where nobody calls `aclose`.
        keeper = _keep()
        http = await anext(keeper)
        with self._lock:
            for closed in [each for each in self._kept if each.is_closed()]:
                del self._kept[closed]
            self._kept[loop] = (http, keeper)
        return http

    def here(self) -> Http | None:
        """That of the running loop, where it has been used in it and not been closed."""
        kept = self._kept.get(asyncio.get_running_loop())
        return kept[0] if kept else None

    async def aclose(self) -> None:
        """Close the pool of the running loop."""
        with self._lock:
            kept = self._kept.pop(asyncio.get_running_loop(), None)
        if kept:
            await kept[1].aclose()


async def _keep() -> AsyncGenerator[Http]:
    http = Http()
    try:
        yield http
    finally:
        await http.aclose()


_closing: set[asyncio.Task[None]] = set()


def _close_soon(kept: _Kept) -> None:
    for loop, (http, keeper) in kept.items():
        with contextlib.suppress(RuntimeError):  # a loop that has ended closed everything with it
            loop.call_soon_threadsafe(_begin_to_close, http, keeper)


def _begin_to_close(http: Http, keeper: AsyncGenerator[Http]) -> None:
    # A loop that ends in this moment closes the keeper by itself, and may not come to a new task.
    if not _is_closing(keeper):
        task = asyncio.ensure_future(_close(http, keeper))
        _closing.add(task)
        task.add_done_callback(_closing.discard)


async def _close(http: Http, keeper: AsyncGenerator[Http]) -> None:
    # Not by the keeper, which the end of the loop may ask to close as well, and it can do so once.
    await http.aclose()
    if not _is_closing(keeper):
        await keeper.aclose()  # nothing is left to wait for


def _is_closing(keeper: AsyncGenerator[Http]) -> bool:
    """Is it being closed, or has been? (Of both typeshed knows nothing.)"""
    return getattr(keeper, "ag_running", False) or getattr(keeper, "ag_frame", None) is None
