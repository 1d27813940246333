"""A pipeline's process as its parent sees it; `child` is the other end."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from livepeer.runner.cli import child

DRAIN_SECONDS = 3.0
"""Seconds for running jobs to finish after a save; the author waits for them."""
STOP_SECONDS = 20.0
LAST_WORDS_SECONDS = 0.5
FILES_SECONDS = 5.0
LINE_LIMIT = 1 << 22


class Child:
    """One process that serves a pipeline, from its `start` to its end.

    It has a session of its own, so that a Ctrl-C in the terminal reaches only its parent, which
    ends its parts in the right order.

    - `successor`: it accepts no connection before it is set up: another one serves until then.
    """

    def __init__(
        self,
        target: str,
        environment: Mapping[str, str],
        listener: socket.socket,
        token: str,
        *,
        successor: bool,
    ) -> None:
        # -P: the present folder goes on the path by what the target says, not by how it is run.
        self._command = (sys.executable, "-P", "-m", "livepeer.runner.cli.child", target)
        self._listener = listener
        self._environment = {
            "LIVEPEER_DRAIN_TIMEOUT": str(DRAIN_SECONDS),
            **os.environ,
            **environment,
            child.LISTENER: str(listener.fileno()),
            child.TOKEN: token,
        }
        self.successor = successor
        if successor:
            self._environment[child.SUCCESSOR] = "1"
        self.trace = ""
        """The last traceback that it told of."""
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._files: asyncio.Future[frozenset[str]] | None = None

    async def start(self) -> None:
        ours, theirs = os.pipe()
        reader = asyncio.StreamReader(limit=LINE_LIMIT)
        try:
            self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb")
            )
            try:  # last, since nothing is waited for once there is a process
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    env={**self._environment, child.SAYS: str(theirs)},
                    stdin=asyncio.subprocess.PIPE,
                    pass_fds=(self._listener.fileno(), theirs),
                    start_new_session=True,
                )
            except BaseException:
                self._transport.close()
                raise
        finally:
            os.close(theirs)
        self._listening = asyncio.create_task(self._listen(reader), name="child")

    async def aclose(self) -> None:
        """Drained and ended, or killed where that takes too long."""
        if self._process.returncode is None:
            if self.successor:  # nobody has spoken with it yet
                self._process.kill()
            else:
                self._process.terminate()
        await self._finish()

    async def wait(self) -> int:
        """Until it ends by itself; its status."""
        return await self._process.wait()

    async def settled(self) -> str | None:
        """Until a successor is set up and serves; None, or why it will not."""
        ended = asyncio.create_task(self._process.wait())
        said = asyncio.create_task(self._events.get())
        try:
            await asyncio.wait((ended, said), return_when=asyncio.FIRST_COMPLETED)
            if not said.done():
                return f"its process ended with status {ended.result()}"
            event = said.result()
            if event["event"] == "ready":
                self.successor = False
                return None
            return str(event.get("reason"))
        finally:
            ended.cancel()
            said.cancel()
            await asyncio.wait((ended, said))

    async def replaced(self) -> None:
        """Another one serves now: finish what runs, stay registered, end."""
        self._tell(b"replaced\n")
        await self._finish()

    async def files(self) -> frozenset[str] | None:
        """The source files of what it has imported; None where it does not say."""
        self._files = asyncio.get_running_loop().create_future()
        self._tell(b"files\n")
        try:
            async with asyncio.timeout(FILES_SECONDS):
                return await self._files
        except TimeoutError:
            return None

    def _tell(self, line: bytes) -> None:
        assert self._process.stdin is not None
        if self._process.returncode is None and not self._process.stdin.is_closing():
            self._process.stdin.write(line)

    async def _finish(self) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
            # Its last words may be on their way yet; what it started may hold the line open.
            await asyncio.wait((self._listening,), timeout=LAST_WORDS_SECONDS)
        except BaseException as error:  # also one that is cancelled leaves no process
            with suppress(ProcessLookupError):
                self._process.kill()
            if not isinstance(error, TimeoutError):
                raise
        finally:
            self._listening.cancel()
            self._transport.close()
            await asyncio.wait((self._listening,))
        await self._process.wait()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            event = json.loads(line)
            if event["event"] == "trace":
                self.trace = event["trace"]
            elif event["event"] != "files":
                self._events.put_nowait(event)
            elif self._files is not None and not self._files.done():
                self._files.set_result(frozenset(event["files"]))
