"""A served pipeline that is started anew whenever one of its files is saved."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from livepeer.runner.cli.load import Reference
from livepeer.trickle.cli.console import note

DRAIN_SECONDS = 3.0
"""What running jobs get when a file was saved: whoever saved it waits for that."""
STOP_SECONDS = 20.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Child:
    """One process that serves a pipeline, from its start to its end. A context manager.

    It has a session of its own, so that a Ctrl-C in the terminal reaches only its parent, which
    ends its parts in the right order.
    """

    def __init__(self, target: str, environment: Mapping[str, str]) -> None:
        # -P: the present folder goes on the path by what the target says, not by how it is run.
        self._command = (sys.executable, "-P", "-m", "livepeer.runner.cli.child", target)
        self._environment = {"LIVEPEER_DRAIN_TIMEOUT": str(DRAIN_SECONDS)}
        self._environment |= {**os.environ, **environment}
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Child:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drained and ended, or killed where that takes too long."""
        process = self._process
        assert process is not None
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
        await process.wait()

    async def wait(self) -> int:
        """Until it ends by itself; its status."""
        assert self._process is not None
        return await self._process.wait()


class Reloader:
    """Keeps one `Child` running for as long as `run` does, whatever its author saves.

    Without `watch` it is started once.
    """

    def __init__(
        self,
        reference: Reference,
        environment: Mapping[str, str],
        tell: Callable[[str], None] = note,
        *,
        watch: bool = True,
    ) -> None:
        self._reference = reference
        self._environment = environment
        self._tell = tell
        self._watch = watch
        self.starts = 0
        self.started = asyncio.Event()
        """Set at each start; for one who waits for the next."""
        self.exit_status: int | None = None
        """The present child's, once it ended by itself."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        changes = self._changes(stop)
        while not stop.is_set():
            self.starts += 1
            self.exit_status = None
            self.started.set()
            child = Child(str(self._reference), self._environment)
            async with child:
                changed = asyncio.create_task(anext(changes, None), name="changes")
                ended = asyncio.create_task(child.wait(), name="child")
                try:
                    await asyncio.wait((changed, ended), return_when=asyncio.FIRST_COMPLETED)
                    if ended.done() and not stop.is_set():
                        self.exit_status = ended.result()
                        if self._watch:
                            self._tell(
                                f"the pipeline's process ended with status {self.exit_status}: "
                                f"it starts again when a file is saved"
                            )
                    names = await changed
                finally:
                    ended.cancel()
                    changed.cancel()
                    await asyncio.wait((ended, changed))
            if names is not None and not stop.is_set():
                self._tell(f"reload: {', '.join(names)} changed")

    async def _changes(self, stop: asyncio.Event) -> AsyncGenerator[list[str], None]:
        if not self._watch:
            await stop.wait()
            return
        from watchfiles import PythonFilter, awatch

        folder = self._reference.folder
        watched = PythonFilter(extra_extensions=(".yaml", ".yml", ".json"))
        async for found in awatch(folder, watch_filter=watched, stop_event=stop):
            yield sorted({path.removeprefix(f"{folder}{os.sep}") for _, path in found})


async def serve_reloading(reference: Reference, host: str, port: int) -> int:
    """`livepeer serve --reload`: until Ctrl-C or SIGTERM. The exit status."""
    with stopping() as stop:
        note(f"watching {reference.folder} (Ctrl-C stops)")
        await Reloader(reference, {"HOST": host, "PORT": str(port)}).run(stop)
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
