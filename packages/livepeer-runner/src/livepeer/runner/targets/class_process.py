"""A pipeline's class, served by a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import BinaryIO

from livepeer.runner.serving.listener import bind
from livepeer.runner.targets.instance import TargetInstance
from livepeer.trickle.text import printable

STOP_SECONDS = 40.0
"""What it gets to end: a drain is 30 s by default."""
WORDS = 2000
"""Bytes of its log that are shown where it does not come up."""
ORCHESTRATORS = ("LIVEPEER_ORCH_URL", "ORCH_URL")
"""A pipeline that is measured is offered to nobody, whatever this shell has."""


@asynccontextmanager
async def class_instance(
    pipeline: str, environ: Mapping[str, str]
) -> AsyncIterator[TargetInstance]:
    """A pipeline's class, served for the length of the block; it also ends if this process is
    killed."""
    with tempfile.TemporaryFile(prefix="livepeer-target-") as log:
        process, url = await _started(pipeline, environ, log)
        try:
            yield TargetInstance(url, process, "127.0.0.1", lambda: _tail(log))
        finally:
            await _ended(process)


async def _started(
    pipeline: str, environ: Mapping[str, str], log: BinaryIO
) -> tuple[asyncio.subprocess.Process, str]:
    own = {name: value for name, value in os.environ.items() if name not in ORCHESTRATORS}
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        # -P: the present folder goes on the path by what the target says, not by how it is run.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "livepeer.runner.targets.child", str(listener.fileno()), pipeline),
            stdin=asyncio.subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**own, **environ},
            pass_fds=(listener.fileno(),),
            start_new_session=True,
        )
    return process, f"http://127.0.0.1:{port}"


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
