"""One piece of an author's code that runs for one job, and the ways in which it may end.

Two ends matter and are not the same: the caller's answer, and the moment at which the code has
really stopped. `Execution.future` is the second; a job's slot is kept until then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from livepeer.runner.errors import JobTimeout
from livepeer.runner.http.asgi import CallerLeft, Receive
from livepeer.runner.running.threads import ThreadCall, WorkerThreads

logger = logging.getLogger(__name__)

# A job shorter than this is not watched for a caller who leaves: watching costs more than it saves.
UNWATCHED_SECONDS = 0.05


class Execution(Protocol):
    future: asyncio.Future[Any]

    @property
    def begun(self) -> bool:
        """Whether any of the author's code may have run; once it is stopped, that is final."""

    def stop(self) -> None:
        """Nobody wants the result any more."""

    def overrun(self) -> None:
        """The time is up: stop it, or give up what runs it."""


class AsyncExecution:
    """A coroutine in a task of its own, so that a caller's answer need not wait for its end."""

    begun = True

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = loop.create_task(guarded(coroutine))

    def stop(self) -> None:
        self.future.cancel()

    def overrun(self) -> None:
        self.future.cancel()


async def guarded(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The same without `sys.exit()`, which in a task would end the event loop and all jobs."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"it raised {error!r}") from error


class ThreadExecution:
    """A sync call. Once begun nothing can stop it; its thread can only be given up."""

    def __init__(
        self,
        threads: WorkerThreads,
        fn: Callable[[], Any],
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        self._threads = threads
        self._call: ThreadCall = threads.submit(fn)
        self._on_stop = on_stop
        self.future = self._call.future

    @property
    def begun(self) -> bool:
        return self._call.begun

    def stop(self) -> None:
        if self._on_stop is not None:
            self._on_stop()
        self._threads.withdraw(self._call)

    def overrun(self) -> None:
        self.stop()
        if self._threads.abandon(self._call):
            logger.warning(
                "a job overran its timeout in a thread, which cannot be stopped: its slot stays "
                "taken until it ends, a fresh thread serves the next job"
            )


def retrieve(future: asyncio.Future[Any]) -> None:
    """Mark the error of work that nobody waits for as seen; log what is not plain cancellation."""
    if not future.cancelled() and (error := future.exception()) is not None:
        logger.info("a job that nobody waits for any more ended with %r", error)


def leave(execution: Execution, deadline: float | None) -> None:
    """Stop an execution that nobody waits for; what resists is given up at its deadline."""
    execution.stop()
    future = execution.future
    if future.done():
        retrieve(future)
        return
    if deadline is not None:
        timer = asyncio.get_running_loop().call_at(deadline, execution.overrun)
        future.add_done_callback(lambda _: timer.cancel())
    future.add_done_callback(retrieve)


async def disconnected(receive: Receive) -> None:
    """Until the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def outcome(execution: Execution, deadline: float | None, receive: Receive) -> Any:
    """The result. Raises what the code raised, `JobTimeout`, or `CallerLeft`.

    `deadline` is in the event loop's time.
    """
    loop = asyncio.get_running_loop()
    future = execution.future
    watcher: asyncio.Task[None] | None = None
    try:
        await asyncio.sleep(0)  # in this turn of the loop a task ends that has nothing to wait for
        if not future.done():
            first = UNWATCHED_SECONDS
            if deadline is not None:
                first = min(first, deadline - loop.time())
            await asyncio.wait((future,), timeout=first)
        if not future.done():
            watcher = loop.create_task(disconnected(receive))
            rest = None if deadline is None else max(0.0, deadline - loop.time())
            await asyncio.wait((future, watcher), timeout=rest, return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return future.result()
        if watcher is not None and watcher.done():
            raise CallerLeft
        execution.overrun()
        raise JobTimeout("the job took longer than the pipeline's timeout")
    finally:
        if watcher is not None:
            watcher.cancel()
        if not future.done():
            leave(execution, deadline)
