"""Threads for an author's sync code: a fixed number, each running one call at a time.

They are daemons of our own and not an executor's, since a call that hangs for ever must neither
block the process's exit nor the calls behind it: its thread is given up, counted, and replaced.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from enum import Enum, auto
from typing import Any


class _Stage(Enum):
    WAITING = auto()
    RUNNING = auto()
    OVER = auto()


class ThreadCall:
    """One call of a sync function. `future` is done when the function has really returned."""

    __slots__ = ("_context", "_fn", "_loop", "_stage", "abandoned", "begun", "future")

    def __init__(self, fn: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self._fn = fn
        self._loop = loop
        self._context: Context = copy_context()
        self._stage = _Stage.WAITING
        self.future: asyncio.Future[Any] = loop.create_future()
        self.abandoned = False
        self.begun = False
        """Whether a thread has taken it: what was withdrawn before has certainly not run."""

    @property
    def running(self) -> bool:
        return self._stage is _Stage.RUNNING

    def _run(self) -> None:
        """In the worker's thread."""
        try:
            value, error = self._context.run(self._fn), None
        except BaseException as caught:  # noqa: BLE001 — whatever it is, it belongs to the waiter
            value, error = None, caught
        self._stage = _Stage.OVER
        try:
            self._loop.call_soon_threadsafe(self._finish, value, error)
        except RuntimeError:
            pass  # the loop has closed: the process is ending, nobody waits any more

    def _finish(self, value: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(value)
        elif isinstance(error, Exception) and not isinstance(error, StopIteration):
            self.future.set_exception(error)
        else:
            # A future refuses StopIteration; KeyboardInterrupt and SystemExit would end the loop.
            wrapped = RuntimeError(f"it raised {error!r}")
            wrapped.__cause__ = error
            self.future.set_exception(wrapped)


class WorkerThreads:
    """At most `size` calls at once, in the order in which they came."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._changed = threading.Condition()
        self._waiting: deque[ThreadCall] = deque()
        self._running: set[ThreadCall] = set()
        self._threads = 0
        self._idle = 0
        self._made = 0
        self._closed = False
        self.abandoned = 0

    @property
    def queued(self) -> int:
        return len(self._waiting)

    def submit(self, fn: Callable[[], Any]) -> ThreadCall:
        """Run `fn` in a thread, in a copy of the present context."""
        call = ThreadCall(fn, asyncio.get_running_loop())
        with self._changed:
            if self._closed:
                raise RuntimeError("the worker threads are closed")
            self._waiting.append(call)
            if self._idle >= len(self._waiting):
                self._changed.notify()
            elif self._threads < self._size:
                self._start()
        return call

    def withdraw(self, call: ThreadCall) -> bool:
        """Take back a call that has not begun. False where it has: nothing can stop it then."""
        with self._changed:
            if call._stage is not _Stage.WAITING:
                return False
            call._stage = _Stage.OVER
            self._waiting.remove(call)
        call.future.cancel()
        return True

    def abandon(self, call: ThreadCall) -> bool:
        """Give up the thread that runs `call`, which ends with it; a fresh one takes its place."""
        with self._changed:
            if call._stage is not _Stage.RUNNING or call.abandoned:
                return False
            call.abandoned = True
            self.abandoned += 1
            self._threads -= 1
            if self._waiting and not self._closed:
                self._start()
        return True

    def abandon_running(self) -> None:
        """Give up every thread that is in a call: what comes next must not wait for them."""
        with self._changed:
            running = list(self._running)
        for call in running:
            self.abandon(call)

    def close(self) -> None:
        """Start nothing more; threads end after the call they are in."""
        with self._changed:
            self._closed = True
            waiting = list(self._waiting)
            self._changed.notify_all()
        for call in waiting:
            self.withdraw(call)

    def _start(self) -> None:
        self._threads += 1
        self._made += 1
        threading.Thread(target=self._work, name=f"{self._name}-{self._made}", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closed:
                        self._threads -= 1
                        return
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                call = self._waiting.popleft()
                call._stage = _Stage.RUNNING
                call.begun = True
                self._running.add(call)
            call._run()
            with self._changed:
                self._running.discard(call)
                if call.abandoned:
                    self.abandoned -= 1
                    return
