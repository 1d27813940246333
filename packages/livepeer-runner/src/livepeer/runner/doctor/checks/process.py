"""What only shows in a process that the doctor started."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from livepeer.runner.doctor.diagnosis import Check
from livepeer.runner.doctor.finding import Finding, NotJudged, SubjectLost
from livepeer.runner.doctor.subject import Subject

WARM = 5
SPREAD_FILES = 5
"""Files that may come and go by themselves."""
SPREAD_BYTES = 8 * 1024 * 1024
"""What an allocator may keep."""
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class _Held:
    """What a process has at a moment: open files, bytes in memory."""

    files: int
    memory: int


async def _rounds(subject: Subject) -> tuple[_Held, _Held, _Held]:
    """Before, amid and after many jobs or streams."""
    process = subject.process
    assert process is not None
    pid = process.pid
    held = [_held(pid)]
    half = subject.force.rounds // 2
    for _ in range(WARM):
        await _round(subject)
    held[0] = _held(pid)
    for _ in range(2):
        for _ in range(half):
            await _round(subject)
        held.append(_held(pid))
    return held[0], held[1], held[2]


async def files(subject: Subject) -> Sequence[Finding]:
    before, _, after = await subject.once(_rounds)
    grown = after.files - before.files
    if grown <= SPREAD_FILES:
        return []
    seen = f"{subject.force.rounds} rounds left {grown} files or sockets open"
    return [Finding(seen, "close what a job or stream opened when it ends, also when it fails")]


async def memory(subject: Subject) -> Sequence[Finding]:
    before, amid, after = await subject.once(_rounds)
    first, second = amid.memory - before.memory, after.memory - amid.memory
    # What grows once is a cache; what grows on is lost.
    if first + second <= SPREAD_BYTES or second <= SPREAD_BYTES // 4:
        return []
    seen = f"{subject.force.rounds} rounds took {(first + second) / 2**20:.0f} MiB of memory"
    return [Finding(f"{seen}, and it goes on", "let go of what belonged to a job or stream")]


async def sigterm(subject: Subject) -> Sequence[Finding]:
    process = subject.process
    assert process is not None
    with suppress(ProcessLookupError):
        process.terminate()
    fix = "at SIGTERM finish what runs, unregister, and end with status 0"
    try:
        async with asyncio.timeout(subject.patience.stop):
            code = await process.wait()
    except TimeoutError:
        return [Finding(f"it runs on {subject.patience.stop:g} s after a SIGTERM", fix)]
    return [] if code == 0 else [Finding(f"a SIGTERM ended it with status {code}", fix)]


async def sigterm_loading(subject: Subject) -> Sequence[Finding]:
    assert subject.launch is not None
    fix = "take a SIGTERM at any time, and end with status 0: schedulers change their minds"
    async with subject.launch({}) as instance:
        there = subject.at(instance.url)
        try:
            async with asyncio.timeout(subject.patience.load):
                while True:
                    with suppress(SubjectLost):
                        await there.get("/health", subject.patience.load)
                        break
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise NotJudged("it answers nothing while it loads") from None
        with suppress(ProcessLookupError):
            instance.process.terminate()
        try:
            async with asyncio.timeout(subject.patience.stop):
                code = await instance.process.wait()
        except TimeoutError:
            seen = f"it runs on {subject.patience.stop:g} s after a SIGTERM while it loads"
            return [Finding(seen, fix)]
    return [] if code == 0 else [Finding(f"a SIGTERM as it came up ended it with {code}", fix)]


async def _round(subject: Subject) -> None:
    if subject.kind == "live":
        async with subject.streams.start(subject):
            pass
    else:
        await subject.good_job()
        await subject.job()


def _held(pid: int) -> _Held:
    if not pid or not Path(f"/proc/{pid}").exists():
        raise NotJudged("its process is not seen from here: there is no /proc of it")
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return _Held(len(os.listdir(f"/proc/{pid}/fd")), pages * os.sysconf("SC_PAGE_SIZE"))
    except PermissionError:
        raise NotJudged("its process belongs to another user: run the doctor as root") from None
    except (OSError, ValueError, IndexError):
        raise SubjectLost("its process is gone") from None


CHECKS = (
    Check("process.files", "no file stays open", "should", "any", files, by="start", slow=True),
    Check("process.memory", "memory stays", "should", "any", memory, by="start", slow=True),
    Check(
        "process.sigterm-loading",
        "a SIGTERM ends it while it loads",
        "should",
        "any",
        sigterm_loading,
        by="start",
        slow=True,
    ),
    Check(
        "process.sigterm",
        "a SIGTERM ends it in order",
        "must",
        "any",
        sigterm,
        by="start",
        last=True,
    ),
)
