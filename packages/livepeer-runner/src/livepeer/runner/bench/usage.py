"""What the processes of a target take: CPU time and resident memory, from `/proc`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from livepeer.runner.bench.report import Usage

LOOK_SECONDS = 0.25
_PROC = Path("/proc")


@dataclass(slots=True)
class Watch:
    """Of one session of processes (the target was started as the leader of one)."""

    leader: int
    _began: float = field(default_factory=time.monotonic)
    _cpu: float = 0.0
    _memory: int = 0

    def __post_init__(self) -> None:
        self._cpu, self._memory = self._look()

    def look(self) -> None:
        self._memory = max(self._memory, self._look()[1])

    def usage(self) -> Usage:
        cpu, memory = self._look()
        return Usage(
            cpu=round(max(0.0, cpu - self._cpu) / (time.monotonic() - self._began), 2),
            memory_mb=round(max(memory, self._memory) / 1e6, 1),
        )

    def _look(self) -> tuple[float, int]:
        """CPU seconds so far, and bytes in memory, of all of them."""
        cpu, memory = 0.0, 0
        tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        for fields in _processes():
            if int(fields[3]) == self.leader:
                cpu += (int(fields[11]) + int(fields[12])) / tick
                memory += int(fields[21]) * page
        return cpu, memory


def _processes() -> Iterator[list[str]]:
    """The fields of each process from its state on (`proc(5)`): session 3, utime 11, rss 21."""
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:  # it ended meanwhile
            continue
        yield text.rpartition(")")[2].split()


@asynccontextmanager
async def watching(leader: int | None) -> AsyncIterator[Watch | None]:
    """A watch that looks now and then; None where the target is not ours, or not Linux's."""
    if leader is None or not (_PROC / "self" / "stat").exists():
        yield None
        return
    watch = Watch(leader)

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            watch.look()

    task = asyncio.create_task(look(), name="usage")
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.wait([task])
