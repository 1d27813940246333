"""What only shows in a process that the doctor started."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from livepeer.runner.doctor.diagnosis import Check
from livepeer.runner.doctor.finding import Finding, NotJudged
from livepeer.runner.doctor.subject import Subject

WARM, ROUNDS = 3, 10
SPREAD = 5
"""Files that may come and go by themselves."""


async def files(subject: Subject) -> Sequence[Finding]:
    process = subject.process
    if process is None or sys.platform != "linux":
        raise NotJudged("there is no /proc to count its files in")
    for _ in range(WARM):
        await _round(subject)
    before = _count(process.pid)
    for _ in range(ROUNDS):
        await _round(subject)
    grown = _count(process.pid) - before
    if grown <= SPREAD:
        return []
    seen = f"{ROUNDS} rounds left {grown} files or sockets open"
    return [Finding(seen, "close what a job or stream opened when it ends, also when it fails")]


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


async def _round(subject: Subject) -> None:
    if subject.kind == "live":
        async with subject.streams.start(subject):
            pass
    else:
        await subject.good_job()
        await subject.job()


def _count(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


CHECKS = (
    Check("process.files", "no file stays open", "should", "process", files, slow=True),
    Check("process.sigterm", "a SIGTERM ends it in order", "must", "process", sigterm, last=True),
)
