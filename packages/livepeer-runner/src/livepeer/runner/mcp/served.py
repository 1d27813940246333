"""A pipeline served in the background, while an agent works on."""

from __future__ import annotations

import socket
import subprocess
from collections import deque
from collections.abc import AsyncIterable
from contextlib import suppress
from pathlib import Path

import aiohttp
import anyio
from anyio.abc import Process, TaskGroup

from livepeer.runner.mcp.children import ChildFailed, Children, end
from livepeer.runner.mcp.results import ServeState
from livepeer.trickle.text import printable

LOOK_SECONDS = 0.1
ORCHESTRATORS = ("LIVEPEER_ORCH_URL", "ORCH_URL")
"""Variables that would offer it to others: what an agent tries is for itself."""
LINES = 500
LINE = 2_000


class Background:
    """At most one pipeline at a time. Its tasks belong to the task group that it is made with."""

    def __init__(self, children: Children, tasks: TaskGroup) -> None:
        self._children = children
        self._tasks = tasks
        self._process: Process | None = None
        self._lines: deque[str] = deque(maxlen=LINES)
        self._url = ""
        self._pipeline = ""
        self._ready = False
        self._changing = anyio.Lock()

    async def start(self, folder: Path, target: str, shown: str, seconds: float) -> ServeState:
        """Serve it in place of what is served; until it is ready. Raises `ChildFailed`."""
        async with self._changing:
            await self._end()
            port = _free_port()
            self._lines.clear()
            self._ready, self._pipeline = False, shown
            self._url = f"http://127.0.0.1:{port}"
            process = await self._children.start(
                (
                    *(*self._children.command, "serve", target),
                    *("--host", "127.0.0.1", "--port", str(port)),
                ),
                folder,
                subprocess.PIPE,
                subprocess.STDOUT,
                without=ORCHESTRATORS,
            )
            self._process = process
            assert process.stdout is not None
            self._tasks.start_soon(self._listen, process.stdout, self._lines)
            try:
                with anyio.fail_after(seconds):
                    await self._until_ready(process)
            except TimeoutError:
                await self._end()
                raise ChildFailed(
                    f"it was not ready within {seconds:g} s\n{self._tail()}"
                ) from None
            except BaseException:
                await self._end()
                raise
            self._ready = True
            return self.state()

    async def stop(self) -> ServeState:
        async with self._changing:
            await self._end()
            return self.state()

    async def aclose(self) -> None:
        """End it, however this is called."""
        with anyio.CancelScope(shield=True):
            await self._end()

    def state(self, lines: int = 20) -> ServeState:
        process = self._process
        running = process is not None and process.returncode is None
        return ServeState(
            running=running,
            ready=running and self._ready,
            url=self._url if running else "",
            pipeline=self._pipeline,
            exit_status=None if process is None else process.returncode,
            logs=list(self._lines)[-lines:],
        )

    async def _end(self) -> None:
        if self._process is not None:
            await end(self._process)

    async def _until_ready(self, process: Process) -> None:
        limit = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=limit) as session:
            while process.returncode is None:
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"{self._url}/ready") as answer:
                        if answer.status == 200:
                            return
                    async with session.get(f"{self._url}/health") as answer:
                        health = await answer.json()
                    if isinstance(health, dict) and health.get("status") == "ERROR":
                        raise ChildFailed(f"its setup failed: {health.get('reason')}")
                await anyio.sleep(LOOK_SECONDS)
        await anyio.sleep(LOOK_SECONDS)  # its last words
        raise ChildFailed(self._tail() or f"it ended with status {process.returncode}")

    def _tail(self) -> str:
        return "\n".join([*self._lines][-20:])

    async def _listen(self, stream: AsyncIterable[bytes], lines: deque[str]) -> None:
        rest = b""
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            async for piece in stream:
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    lines.append(printable(line.decode("utf-8", "replace").rstrip())[:LINE])
                if len(rest) > LINE:
                    lines.append(printable(rest.decode("utf-8", "replace"))[:LINE])
                    rest = b""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
