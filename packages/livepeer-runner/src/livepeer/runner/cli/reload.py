"""A served pipeline that a new process takes over whenever one of its files is saved."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

from livepeer.runner.cli.process import Child
from livepeer.runner.packaging.load import Reference
from livepeer.runner.serving.listener import bind
from livepeer.trickle.cli.console import note

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SOURCES = (".py", ".yaml", ".yml", ".json")
"""What may mend a pipeline that did not start, whatever it came to import."""
LEAVING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ReloadEvent:
    """What becomes of a pipeline, besides that another process serves it (`Reloader.started`).

    `serves`: what was there before goes on.
    """

    kind: Literal["reloads", "failed"]
    reason: str
    trace: str = ""
    serves: bool = True


class Reloader:
    """Keeps a pipeline served for as long as `run` does, whatever its author saves.

    What serves goes on until its successor is set up, which then accepts on the same socket: no
    call is refused meanwhile. One that cannot be set up changes nothing. Files that the pipeline
    does not import, nor read while it was set up, are not looked at. Without `watch` it is started
    once. `environment` is what its processes are told besides, by the port.
    """

    def __init__(
        self,
        reference: Reference,
        host: str,
        port: int,
        *,
        environment: Callable[[int], Mapping[str, str]] = lambda port: {},
        tell: Callable[[str], None] = note,
        changed: Callable[[ReloadEvent], None] = lambda change: None,
        watch: bool = True,
    ) -> None:
        self._reference = reference
        self._folder = os.path.realpath(reference.folder)
        self._tell = tell
        self._changed = changed
        self._watch = watch
        self._token = secrets.token_urlsafe(32)
        self._host = host
        self._listener: socket.socket | None = bind(host, port)
        self.port: int = self._listener.getsockname()[1]
        self._environment = environment(self.port)
        self._current: Child | None = None
        self._attempt: asyncio.Task[Child | None] | None = None
        self._broken = False
        self._leaving: set[asyncio.Task[None]] = set()
        self.starts = 0
        self.started = asyncio.Event()
        """Set each time that another process begins to serve; a waiter clears it."""
        self.exit_status: int | None = None
        """Of the process that served last, once it ended by itself."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        changes = self._changes(stop)
        stopping = asyncio.create_task(stop.wait(), name="stop")
        changed = asyncio.create_task(anext(changes, None), name="changes")
        ended: asyncio.Task[int] | None = None
        try:
            while not stop.is_set():
                if self._current is None and self._attempt is None and not self._broken:
                    await self._serves(await self._start(successor=False))
                if self._current is not None and ended is None:
                    ended = asyncio.create_task(self._current.wait(), name="child")
                await asyncio.wait(
                    [each for each in (stopping, changed, ended, self._attempt) if each],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if ended is not None and ended.done() and not stop.is_set():
                    await self._ended(ended.result())
                    ended = None
                if self._attempt is not None and self._attempt.done():
                    successor, self._attempt = self._attempt.result(), None
                    self._broken = successor is None
                    if successor is not None:
                        if ended is not None:
                            ended.cancel()
                            ended = None
                        await self._serves(successor)
                if changed.done() and not stop.is_set():
                    await self._saved(changed.result() or frozenset())
                    changed = asyncio.create_task(anext(changes, None), name="changes")
        finally:
            tasks = [each for each in (stopping, changed, ended) if each]
            for task in tasks:
                task.cancel()
            async with AsyncExitStack() as stack:  # each, also where it is cancelled at another
                stack.callback(self._close)
                if self._leaving:
                    stack.push_async_callback(asyncio.wait, set(self._leaving))
                if self._current is not None:
                    stack.push_async_callback(self._current.aclose)
                stack.push_async_callback(changes.aclose)
                stack.push_async_callback(self._give_up)
                await asyncio.wait(tasks)

    @property
    def trace(self) -> str:
        """The last traceback of the process that serves, or "" where it told of none."""
        return self._current.trace if self._current is not None else ""

    async def _start(self, *, successor: bool) -> Child:
        if self._listener is None:
            self._listener = bind(self._host, self.port)
        child = Child(
            str(self._reference),
            {"HOST": self._host, "PORT": str(self.port), **self._environment},
            self._listener,
            self._token,
            successor=successor,
        )
        await child.start()
        return child

    async def _succeed(self) -> Child | None:
        """A process that is set up and serves; None where it cannot be."""
        child = await self._start(successor=True)
        try:
            reason = await child.settled()
        except BaseException:
            await child.aclose()
            raise
        if reason is None:
            return child
        await child.aclose()
        stays = ": what served before goes on" if self._current is not None else ""
        self._changed(ReloadEvent("failed", reason, child.trace, serves=self._current is not None))
        self._tell(f"not reloaded, {reason}{stays}; it is tried again when a file is saved")
        return None

    async def _give_up(self) -> None:
        """End the attempt that there is, and what it has made by now."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        attempt.cancel()
        await asyncio.wait((attempt,))
        if not attempt.cancelled() and (made := attempt.result()) is not None:
            await made.aclose()

    async def _serves(self, child: Child) -> None:
        former, self._current = self._current, child
        self._broken = False
        self.exit_status = None
        self.starts += 1
        if former is None:
            self.started.set()
            return
        leaving = asyncio.create_task(former.replaced(), name="former")
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        # It accepts for a moment yet: who looks at the new one must not meet it.
        await asyncio.wait((leaving,), timeout=LEAVING_SECONDS)
        self.started.set()

    async def _ended(self, status: int) -> None:
        """What served ended by itself: nobody answers until a file is saved."""
        assert self._current is not None
        await self._current.aclose()
        trace, self._current = self._current.trace, None
        self.exit_status = status
        if self._attempt is None:
            self._broken = True
            self._close()  # a caller is refused, and does not wait for nobody
            reason = f"its process ended with status {status}"
            self._changed(ReloadEvent("failed", reason, trace, serves=False))
            if self._watch:
                self._tell(
                    f"the pipeline's process ended with status {status}: it starts again when a "
                    f"file is saved"
                )

    async def _saved(self, paths: frozenset[str]) -> None:
        names = await self._of_the_pipeline(paths)
        if not names:
            return
        self._tell(f"reloading: {', '.join(names)} changed")
        self._changed(ReloadEvent("reloads", f"{', '.join(names)} changed"))
        await self._give_up()
        if self._current is None:
            self._broken = False  # `run` starts it
        else:
            self._attempt = asyncio.create_task(self._succeed(), name="successor")

    async def _of_the_pipeline(self, paths: frozenset[str]) -> list[str]:
        known = None
        if self._current is not None and not self._broken and self._attempt is None:
            known = await self._current.files()
        chosen = {
            path
            for path in paths
            if (path in known if known is not None else path.endswith(SOURCES))
        }
        return sorted(path.removeprefix(f"{self._folder}{os.sep}") for path in chosen)

    async def _changes(self, stop: asyncio.Event) -> AsyncGenerator[frozenset[str], None]:
        if not self._watch:
            await stop.wait()
            return
        from watchfiles import awatch

        async for found in awatch(self._reference.folder, stop_event=stop):
            yield frozenset(map(os.path.realpath, (path for _, path in found)))

    def _close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()


async def serve_reloading(reference: Reference, host: str, port: int) -> int:
    """`livepeer serve --reload`: until Ctrl-C or SIGTERM. The exit status."""
    with stopping() as stop:
        note(f"watching {reference.folder} (Ctrl-C stops)")
        await Reloader(reference, host, port).run(stop)
    return 0


@contextmanager
def stopping() -> Iterator[asyncio.Event]:
    """An event that Ctrl-C and SIGTERM set. A second one interrupts, as without this."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    previous: dict[int, object] = {}

    def caught(number: int, frame: object) -> None:
        for each, handler in previous.items():
            signal.signal(each, handler)  # type: ignore[arg-type]
        loop.call_soon_threadsafe(stop.set)

    for each in SIGNALS:
        previous[each] = signal.signal(each, caught)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
