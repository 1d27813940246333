"""`predict_batch`: the calls of several callers, gathered into one.

One batch runs at a time; calls that arrive meanwhile make the next one. An element of the returned
list that is an exception is the answer to that caller alone. Where the whole call raises, each of
its inputs is run once more by itself, so that one bad input does not spoil the others.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from livepeer.runner.errors import JobTimeout
from livepeer.runner.running.execution import AsyncExecution, Execution, ThreadExecution, leave
from livepeer.runner.running.threads import WorkerThreads

logger = logging.getLogger(__name__)


class GatheredExecution:
    """One caller's place in a batch."""

    def __init__(self, item: Any, waiting: deque[GatheredExecution]) -> None:
        self.item = item
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.unwanted = False
        self.begun = False
        self._waiting = waiting

    def stop(self) -> None:
        """Leave the queue; inside a running batch, the result is dropped when it comes."""
        self.unwanted = True
        with suppress(ValueError):
            self._waiting.remove(self)
            self.future.cancel()

    def overrun(self) -> None:
        self.stop()

    def finish(self, result: Any) -> None:
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Gatherer:
    """Owns the task that makes batches. `start()` and `aclose()` bound its life."""

    def __init__(
        self,
        call: Callable[[list[Any]], Any],
        encode: Callable[[Any], Any],
        *,
        size: int,
        wait: float,
        timeout: float | None,
        threads: WorkerThreads,
    ) -> None:
        self._call = call
        self._encode = encode
        self._size = size
        self._wait = wait
        self._timeout = timeout
        self._threads = threads
        self._waiting: deque[GatheredExecution] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="predict_batch")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=5)
        for entry in list(self._waiting):
            entry.stop()

    @property
    def queued(self) -> int:
        return len(self._waiting)

    def submit(self, item: Any) -> GatheredExecution:
        entry = GatheredExecution(item, self._waiting)
        self._waiting.append(entry)
        self._arrived.set()
        return entry

    async def _run(self) -> None:
        while True:
            batch = await self._collect()
            try:
                for entry, result in zip(batch, await self._results(batch), strict=True):
                    entry.finish(self._encoded(result))
            finally:
                for entry in batch:
                    entry.future.cancel()

    def _encoded(self, result: Any) -> Any:
        if isinstance(result, BaseException):
            return result
        try:
            return self._encode(result)
        except Exception as error:  # noqa: BLE001 — it goes to the one caller whose result it is
            return error

    async def _collect(self) -> list[GatheredExecution]:
        """The next batch: full, or as long as its first call may wait."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait):
                while len(self._waiting) < self._size:
                    self._arrived.clear()
                    await self._arrived.wait()
        count = min(self._size, len(self._waiting))
        batch = [self._waiting.popleft() for _ in range(count)]
        for entry in batch:
            entry.begun = True
        return batch

    async def _results(self, batch: Sequence[GatheredExecution]) -> Sequence[Any]:
        try:
            return await self._once(batch)
        except JobTimeout as error:
            return [error] * len(batch)
        except Exception as error:  # noqa: BLE001 — an author's code; it goes to the callers
            if len(batch) == 1:
                return [error]
            logger.warning("predict_batch raised for %d inputs: trying each alone", len(batch))
        return [
            (await self._results([entry]))[0] if not entry.unwanted else None for entry in batch
        ]

    async def _once(self, batch: Sequence[GatheredExecution]) -> Sequence[Any]:
        items = [entry.item for entry in batch]
        execution: Execution
        if inspect.iscoroutinefunction(self._call):
            execution = AsyncExecution(self._call(items))
        else:
            execution = ThreadExecution(self._threads, lambda: self._call(items))
        loop = asyncio.get_running_loop()
        deadline = None if self._timeout is None else loop.time() + self._timeout
        try:
            await asyncio.wait((execution.future,), timeout=self._timeout)
            if not execution.future.done():
                execution.overrun()
                raise JobTimeout("the batch took longer than the pipeline's timeout")
        finally:
            if not execution.future.done():
                leave(execution, deadline)
        results = execution.future.result()
        if not isinstance(results, Sequence) or len(results) != len(items):
            what = f"{len(results)} results" if isinstance(results, Sequence) else repr(results)
            raise TypeError(f"predict_batch returned {what} for {len(items)} inputs")
        return results
