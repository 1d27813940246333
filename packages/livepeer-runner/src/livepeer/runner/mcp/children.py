"""A `livepeer` command as a child process: bounded in time, output and memory, and ended whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO

import anyio
from anyio.abc import Process

from livepeer.trickle.text import printable

LIVEPEER = (sys.executable, "-P", "-m", "livepeer")
OUTPUT = 16 << 20
"""Bytes that a child may print as its result."""
KEPT_LINES = 200
LINE = 2_000
"""Letters of a line that it says beside its result, and how many lines of that are kept."""
TELL_SECONDS = 1.0
"""How often a client is told how far it is."""
END_SECONDS = 3.0
"""What a child gets to end by itself after a SIGTERM."""

Tell = Callable[[float, str], Awaitable[None]]
"""Told the seconds that it runs for, and the last line that it said."""


class ChildFailed(Exception):
    """A child did not do what it was started for; the message says why, in its own words."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        """Its exit status; None where it was ended."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A child that ended by itself."""

    code: int
    out: str
    said: str
    """The last lines of its standard error."""


@dataclass(frozen=True, slots=True)
class Children:
    """Starts commands. `memory`: bytes of address space that each may have, where the system can
    hold it to that."""

    command: Sequence[str] = LIVEPEER
    memory: int | None = None

    async def livepeer(
        self,
        *arguments: str,
        folder: Path,
        seconds: float,
        tell: Tell | None = None,
        good: Sequence[int] = (0,),
    ) -> Ended:
        """Run `livepeer ARGUMENTS` to its end. Raises `ChildFailed`."""
        return await self.run(
            (*self.command, *arguments), folder=folder, seconds=seconds, tell=tell, good=good
        )

    async def run(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        seconds: float,
        tell: Tell | None = None,
        good: Sequence[int] = (0,),
    ) -> Ended:
        """Run a command to its end. Raises `ChildFailed` where it takes over `seconds`, prints
        without end, or exits with a status that is not `good`. Whoever cancels this ends it."""
        process = await self.start(command, folder, subprocess.PIPE, subprocess.PIPE)
        said: deque[str] = deque(maxlen=KEPT_LINES)
        out = bytearray()
        began = monotonic()
        assert process.stdout is not None and process.stderr is not None
        try:
            with anyio.move_on_after(seconds) as limit:
                async with anyio.create_task_group() as telling:
                    if tell is not None:
                        telling.start_soon(_tell, tell, said, began)
                    async with anyio.create_task_group() as reading:
                        reading.start_soon(_collect, process.stdout, out)
                        reading.start_soon(_listen, process.stderr, said)
                        await process.wait()
                        kill(process)  # what it started itself may hold its pipes open
                        reading.cancel_scope.deadline = anyio.current_time() + END_SECONDS
                    telling.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            await end(process)
        if limit.cancelled_caught:
            raise ChildFailed(
                _with(f"it was ended after {seconds:g} s, its limit (`seconds` raises it)", said)
            )
        code = process.returncode or 0
        if code not in good:
            raise ChildFailed(_failure(code, said, out), code)
        return Ended(code, out.decode("utf-8", "replace"), "\n".join(said))

    async def start(
        self,
        command: Sequence[str],
        folder: Path,
        stdout: int | IO[bytes],
        stderr: int | IO[bytes],
        *,
        without: Sequence[str] = (),
    ) -> Process:
        """A child in a session of its own, without input, and without these variables."""
        kept = {name: value for name, value in os.environ.items() if name not in without}
        process = await anyio.open_process(
            command,
            cwd=folder,
            env={
                **kept,
                "NO_COLOR": "1",
                "TERM": "dumb",
                "PYTHONUNBUFFERED": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        if self.memory is not None and sys.platform == "linux":
            import resource

            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_AS, (self.memory, self.memory))
        return process


async def end(process: Process) -> None:
    """End a child and all that it started: by SIGTERM, then by SIGKILL. Not to be cancelled."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            signal_group(process, signal.SIGTERM)
            with anyio.move_on_after(END_SECONDS):
                await process.wait()
        kill(process)
        await process.aclose()


def kill(process: Process) -> None:
    """End at once what there is left of a child's session."""
    signal_group(process, signal.SIGKILL)


def signal_group(process: Process, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


async def _collect(stream: AsyncIterable[bytes], into: bytearray) -> None:
    async for piece in stream:
        into += piece
        if len(into) > OUTPUT:
            raise ChildFailed(f"it printed over {OUTPUT >> 20} MiB as its result")


async def _listen(stream: AsyncIterable[bytes], said: deque[str]) -> None:
    rest = b""
    async for piece in stream:
        *lines, rest = (rest + piece).split(b"\n")
        said.extend(filter(None, map(_line, lines)))
        if len(rest) > LINE:
            said.append(_line(rest))
            rest = b""
    if rest:
        said.append(_line(rest))


def _line(line: bytes) -> str:
    return printable(line[: 4 * LINE].decode("utf-8", "replace").rstrip())[:LINE]


async def _tell(tell: Tell, said: deque[str], began: float) -> None:
    while True:
        await anyio.sleep(TELL_SECONDS)
        await tell(round(monotonic() - began, 1), said[-1] if said else "")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    return group


def _failure(code: int, said: deque[str], out: bytearray) -> str:
    if code < 0:
        return _with(f"its process was ended by {signal.Signals(-code).name}", said)
    words = "\n".join(said).strip() or out.decode("utf-8", "replace")[-LINE:].strip()
    return words or f"it ended with status {code} and said nothing"


def _with(text: str, said: deque[str]) -> str:
    return f"{text}\n{tail}" if (tail := "\n".join([*said][-20:]).strip()) else text
