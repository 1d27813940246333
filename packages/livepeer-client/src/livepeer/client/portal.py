"""An event loop in a thread of its own, for the sync methods.

A loop of its own, and not one per call: connections stay open between calls, the end of an idle
one is noticed when it happens, and a sync call works from any thread, also one whose own loop runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, Generic, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

_GRACE = 2.0
"""What may still be closing when the loop ends (connections of a gateway that was dropped)."""

_LOOK = 1.0
"""How often a caller that waits looks whether there is still a thread that could answer."""

_warned = False


def _warn_of_blocking() -> None:
    """A sync call works where a loop runs, and holds that loop up: said once, since it is slow
    rather than wrong, and nobody sees why."""
    global _warned
    # In a notebook a loop always runs, and waiting for a cell is what is meant.
    if _warned or "ipykernel" in sys.modules:
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    _warned = True
    logger.warning(
        "a sync method of the gateway was called where an event loop runs, which stands still until"
        " it returns: in async code use its twin, as in `await gw.run_async(...)`"
    )


class _Thread:
    """The thread and its loop. Refers to nothing that refers to it, so that both can be dropped."""

    def __init__(self) -> None:
        self.calls: set[asyncio.Task[Any]] = set()
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self.loop: asyncio.AbstractEventLoop
        self.pid = os.getpid()
        self.thread = threading.Thread(target=self._run, name="livepeer-client", daemon=True)
        self.thread.start()
        self._ready.wait()

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()
        for call in self.calls:
            call.cancel()
        if rest := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(rest, timeout=_GRACE)

    def stop(self) -> None:
        if self.pid != os.getpid():
            return  # after a fork the thread exists in the parent alone
        with contextlib.suppress(RuntimeError):  # the loop ended by itself, at interpreter exit
            self.loop.call_soon_threadsafe(self._stop.set)
        if threading.current_thread() is not self.thread:
            self.thread.join()


class _BlockingCall(Generic[T]):
    """A coroutine that one thread runs and another waits for: one wake-up there, one back.

    (`asyncio.run_coroutine_threadsafe` chains two futures and a condition, of a tenth of a call.)
    """

    def __init__(self, thread: _Thread, coroutine: Coroutine[Any, Any, T]) -> None:
        self._thread, self._coroutine = thread, coroutine
        self._task: asyncio.Task[T]
        self._waiting = threading.Lock()
        self._waiting.acquire()

    def begin(self) -> None:
        """Called by the loop."""
        self._task = self._thread.loop.create_task(self._coroutine)
        self._thread.calls.add(self._task)
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[T]) -> None:
        self._thread.calls.discard(task)
        self._waiting.release()

    def result(self) -> T:
        """Wait for it. Raises what it raised; Ctrl-C while waiting cancels it."""
        try:
            while not self._waiting.acquire(timeout=_LOOK):
                if not self._thread.thread.is_alive() and not self._waiting.acquire(blocking=False):
                    # It was handed over in the last moment of the loop, which never came to it.
                    self._coroutine.close()
                    raise CancelledError("the gateway was closed")
        except BaseException:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and what ran in it
                self._thread.loop.call_soon_threadsafe(self._cancel)
            raise
        try:
            if self._task.cancelled():
                raise CancelledError
            return self._task.result()
        finally:
            del self  # an error refers to this frame

    def _cancel(self) -> None:
        self._task.cancel()


class Portal:
    """Runs coroutines to their end for callers without a loop; starts its thread at first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: _Thread | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result. Ctrl-C while waiting cancels it."""
        thread = self._started()
        if threading.current_thread() is thread.thread:
            coroutine.close()
            raise RuntimeError(
                "a sync method was called on the client's own thread: use its _async twin"
            )
        _warn_of_blocking()
        call = _BlockingCall(thread, coroutine)
        try:
            thread.loop.call_soon_threadsafe(call.begin)
        except RuntimeError:  # the loop ended by itself, at interpreter exit
            coroutine.close()
            raise
        try:
            return call.result()
        finally:
            del call  # an error refers to this frame

    def soon(self, callback: Callable[[], object]) -> None:
        """Run `callback` on the thread, if it still exists, without waiting."""
        thread = self._thread
        if thread is not None and thread.pid == os.getpid():
            with contextlib.suppress(RuntimeError):
                thread.loop.call_soon_threadsafe(callback)

    def close(self) -> None:
        """End the thread; a call after it starts a new one."""
        with self._lock:
            finalizer, self._thread, self._finalizer = self._finalizer, None, None
        if finalizer:
            finalizer()

    @property
    def started(self) -> bool:
        return self._thread is not None

    def _started(self) -> _Thread:
        with self._lock:
            if self._thread is None or self._thread.pid != os.getpid():
                self._thread = _Thread()
                self._finalizer = weakref.finalize(self, self._thread.stop)
            return self._thread
