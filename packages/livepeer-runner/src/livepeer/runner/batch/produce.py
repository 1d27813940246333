"""Running a generator for a stream: each item it yields becomes bytes in an `EventBuffer`.

The generator is closed in the thread or task that runs it, whether it ends, raises, or its reader
leaves, so that its `finally` blocks run where its other code ran.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any

from livepeer.runner.batch.buffer import EventBuffer, StreamClosed
from livepeer.runner.running.execution import AsyncExecution, Execution, ThreadExecution
from livepeer.runner.running.threads import WorkerThreads

Encode = Callable[[Any], bytes]


def produce_in_thread(
    make: Callable[[], Iterator[Any]], encode: Encode, buffer: EventBuffer, threads: WorkerThreads
) -> Execution:
    def pump() -> None:
        error: BaseException | None = None
        try:
            items = make()
            try:
                for item in items:
                    buffer.put_blocking(encode(item))
            finally:
                if isinstance(items, Generator):
                    items.close()
        except StreamClosed:
            pass
        except Exception as caught:  # noqa: BLE001 — an author's code; it goes to the caller
            error = caught
        except BaseException as caught:  # noqa: BLE001 — SystemExit would end the event loop
            error = RuntimeError(f"it raised {caught!r}")
        buffer.end(error)

    return ThreadExecution(threads, pump, on_stop=buffer.close)


def produce_in_task(
    make: Callable[[], AsyncIterator[Any]], encode: Encode, buffer: EventBuffer
) -> Execution:
    async def pump() -> None:
        try:
            items = make()
            try:
                async for item in items:
                    await buffer.put(encode(item))
            finally:
                if isinstance(items, AsyncGenerator):
                    await items.aclose()
        except StreamClosed:
            pass
        except Exception as caught:  # noqa: BLE001 — an author's code; it goes to the caller
            buffer.end(caught)
        except (SystemExit, KeyboardInterrupt) as caught:
            buffer.end(RuntimeError(f"it raised {caught!r}"))
        finally:
            buffer.end()

    return AsyncExecution(pump())
