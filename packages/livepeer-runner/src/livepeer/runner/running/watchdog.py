"""A look from outside at the event loop: which hook holds it up, at which line, and for how long.

An async hook that calls something that blocks (a model, `time.sleep`, `requests`) stops everything
at once: other jobs, `/health`, heartbeats. Nothing on the loop can notice it, and asyncio's debug
mode, which could, costs more than the work. So a thread of its own wakes a few times a second and
asks whether the loop has been round; only where it has not does it look at the loop's stack.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

BEAT_SECONDS = 0.25
"""How often the loop shows that it goes round."""
BLOCKED_SECONDS = 0.5
"""A loop that stands still for less is only busy."""
LOOK_SECONDS = 0.1
LOOKS = 2
"""So many looks have to find the same hook: one alone may be chance on a machine that is full."""
UNENDING_SECONDS = 5.0
"""What lasts longer is told before it ends: it may not."""
QUIET_SECONDS = 60.0
"""The same hook is told of so often at most."""


class _HookLine(NamedTuple):
    hook: str
    line: str


class Watchdog:
    """Of one pipeline class on one loop, from `start` to `stop`. `count` is given the seconds."""

    def __init__(self, cls: type, count: Callable[[float], None]) -> None:
        self._cls = cls
        self._count = count
        owners = [owner for owner in cls.__mro__ if not _is_ours(owner.__module__)]
        self._hooks = dict(pair for owner in owners for pair in _codes(owner))
        self._files = {code.co_filename for code in self._hooks}
        self._beaten = 0.0
        self._told: dict[str, float] = {}
        self._stopped = threading.Event()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch the running loop. A class without async code is not worth a thread."""
        if not any(code.co_flags & _ASYNC for code in self._hooks):
            return
        loop = asyncio.get_running_loop()
        self._beat(loop)
        watching = threading.Thread(
            target=self._watch,
            args=(loop, threading.get_ident()),
            name="loop-watchdog",
            daemon=True,
        )
        watching.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beaten = time.monotonic()
        self._timer = loop.call_later(BEAT_SECONDS, self._beat, loop)

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        while not self._stopped.wait(BEAT_SECONDS) and not loop.is_closed():
            if self._still() >= BLOCKED_SECONDS:
                self._look(thread)

    def _still(self) -> float:
        """Seconds for which the loop has not been round."""
        return time.monotonic() - self._beaten - BEAT_SECONDS

    def _look(self, thread: int) -> None:
        """Until it goes round again: in which hook it is."""
        beaten, seconds = self._beaten, 0.0
        place: _HookLine | None = None
        looks, told = 0, False
        while self._beaten == beaten:
            seconds = self._still()
            frame = sys._current_frames().get(thread)
            if (found := frame and self._place(frame)) is not None:
                looks = looks + 1 if place is not None and place.hook == found.hook else 1
                place = found
            if place is not None and not told and seconds > UNENDING_SECONDS and looks >= LOOKS:
                told = self._tell(place, f"has held up the event loop for {seconds:.1f} s by now")
            if self._stopped.wait(LOOK_SECONDS) or frame is None:
                return
        if place is not None and looks >= LOOKS:
            self._count(seconds)
            self._tell(place, f"held up the event loop for {seconds:.1f} s", again=told)

    def _place(self, frame: FrameType) -> _HookLine | None:
        """The hook that is outermost in a stack, and the line of its file that is innermost."""
        hook, line = None, ""
        step: FrameType | None = frame
        while step is not None:
            code = step.f_code
            if not line and code.co_filename in self._files:
                line = f"{Path(code.co_filename).name}:{step.f_lineno}"
            hook = self._hooks.get(code, hook)
            step = step.f_back
        return None if hook is None else _HookLine(hook, line)

    def _tell(self, place: _HookLine, what: str, *, again: bool = False) -> bool:
        now = time.monotonic()
        if not again and now - self._told.get(place.hook, float("-inf")) < QUIET_SECONDS:
            return False
        self._told[place.hook] = now
        logger.warning(
            "%s.%s %s (at %s): nothing else is done meanwhile, and /health is not answered. Write "
            "it without `async`, so that it runs in a thread, or put `await asyncio.to_thread(...)`"
            " around what blocks",
            self._cls.__name__,
            place.hook,
            what,
            place.line,
        )
        return True


_ASYNC = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def _is_ours(module: str) -> bool:
    return module == "builtins" or module.startswith("livepeer.runner")


def _codes(owner: type) -> Iterator[tuple[CodeType, str]]:
    for name, value in vars(owner).items():
        function: Any = getattr(value, "__func__", value)
        for one in (function, inspect.unwrap(function) if callable(function) else None):
            if (code := getattr(one, "__code__", None)) is not None:
                yield code, name
