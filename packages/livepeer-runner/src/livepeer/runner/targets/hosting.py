"""A target while it is measured: found at its URL, or started and ended by us."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

import aiohttp

from livepeer.runner.serving.server import bind
from livepeer.runner.targets.reference import TargetError, TargetReference
from livepeer.trickle.text import printable

READY_SECONDS = 300.0
"""What a class gets for its setup: models are fetched and loaded."""
STOP_SECONDS = 40.0
"""What it gets to end: a drain is 30 s by default."""
LOOK_SECONDS = 0.05
WORDS = 2000
"""Bytes of its log that are shown where it does not come up."""


@dataclass(frozen=True, slots=True)
class OpenTarget:
    """A target that answers. `process` is there where we started it, and may be signalled."""

    url: str
    process: asyncio.subprocess.Process | None = None


@asynccontextmanager
async def opened(
    target: TargetReference, *, ready_seconds: float = READY_SECONDS
) -> AsyncIterator[OpenTarget]:
    """The target, running. A class is served by a process of its own, which ends with this, and
    also where this process is killed. Raises `TargetError` where it does not come up."""
    if target.kind == "url":
        yield OpenTarget(target.text)
        return
    with tempfile.TemporaryFile(prefix="livepeer-target-") as log:
        process, url = await _started(target.text, log)
        try:
            await _until_ready(process, url, log, ready_seconds)
            yield OpenTarget(url, process)
        finally:
            await _ended(process)


async def _started(pipeline: str, log: BinaryIO) -> tuple[asyncio.subprocess.Process, str]:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        # -P: the present folder goes on the path by what the target says, not by how it is run.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "livepeer.runner.targets.child", str(listener.fileno()), pipeline),
            stdin=asyncio.subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(listener.fileno(),),
            start_new_session=True,
        )
    return process, f"http://127.0.0.1:{port}"


async def _until_ready(
    process: asyncio.subprocess.Process, url: str, log: BinaryIO, seconds: float
) -> None:
    limit = aiohttp.ClientTimeout(total=5)
    try:
        async with asyncio.timeout(seconds), aiohttp.ClientSession(timeout=limit) as session:
            while process.returncode is None:
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"{url}/ready") as answer:
                        if answer.status == 200:
                            return
                    async with session.get(f"{url}/health") as answer:
                        health = await answer.json()
                    if health.get("status") == "ERROR":
                        raise TargetError(f"its setup failed: {health.get('reason')}{_tail(log)}")
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise TargetError(f"it was not ready within {seconds:g} s{_tail(log)}") from None
    raise TargetError(f"it cannot be served{_tail(log)}")


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        # Its whole session: what it started must not stay either.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _tail(log: BinaryIO) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - WORDS))
    said = printable(log.read().decode("utf-8", "replace").strip(), lines=True)
    return f":\n{said}" if said else ""
