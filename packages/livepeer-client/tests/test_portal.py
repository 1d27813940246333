"""Coroutines that one thread hands to another: whoever waits is always answered."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError

import pytest

from livepeer.client.portal import Portal


async def answer() -> int:
    return 42


def test_what_the_loop_never_came_to_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    portal = Portal()
    assert portal.call(answer()) == 42

    def accept(callback: object) -> None:
        """As in the last moment of a loop, which takes it and ends."""
        portal.close()

    loop = portal._started().loop
    monkeypatch.setattr(loop, "call_soon_threadsafe", _Once(loop, accept))
    with pytest.raises(CancelledError, match="closed"):
        portal.call(answer())
    assert portal.call(answer()) == 42, "a new thread"
    portal.close()


class _Once:
    """In the place of a loop's method for one call."""

    def __init__(self, loop: asyncio.AbstractEventLoop, instead: object) -> None:
        self._real, self._instead = loop.call_soon_threadsafe, instead

    def __call__(self, callback: object, *arguments: object) -> object:
        instead, self._instead = self._instead, self._real
        return instead(callback, *arguments)  # type: ignore[operator]
