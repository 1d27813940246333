"""What the processes of a target take: CPU time and memory, from `/proc`, of a container from its
control group."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from livepeer.runner.bench.gpu import GpuWatch
from livepeer.runner.bench.gpu import look as gpu_look

LOOK_SECONDS = 0.25
GPU_SECONDS = 1.0
"""The tool is a process, and takes a tenth of a second."""
_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


class Usage(BaseModel):
    """What the target's processes took while it was measured, where they are on this machine."""

    cpu: float
    """Cores: 1.5 is one and a half."""
    memory_mb: float
    """Resident, at most; of a container without the cache of files."""
    gpu: float | None = None
    """The mean share of the GPU's time, 0 to 1, of all that used it; None where there is none."""
    gpu_memory_mb: float | None = None
    """At most, of the target's processes; where the GPU's tool does not know these (a container's),
    how much more all processes had than before."""


class ProcessSource(Protocol):
    """Where the processes of a target are counted."""

    def look(self) -> ProcessTotals:
        """Of this moment; zeros once they are gone."""


@dataclass(frozen=True, slots=True)
class ProcessTotals:
    """CPU seconds so far, bytes in memory, and the processes' ids."""

    cpu: float
    memory: int
    processes: frozenset[int]


@dataclass(frozen=True, slots=True)
class SessionOf:
    """One session of processes: the target was started as the leader of one."""

    leader: int

    def look(self) -> ProcessTotals:
        cpu, memory, found = 0.0, 0, []
        tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        for pid, fields in _processes():
            if int(fields[3]) == self.leader:
                cpu += (int(fields[11]) + int(fields[12])) / tick
                memory += int(fields[21]) * page
                found.append(pid)
        return ProcessTotals(cpu, memory, frozenset(found))


@dataclass(frozen=True, slots=True)
class CgroupOf:
    """A control group (version 2): a container has one of its own. `folder`: where it is."""

    folder: Path

    @classmethod
    def of(cls, pid: int) -> CgroupOf | None:
        """That of a process; None where there is no version 2, or it is the machine's own."""
        try:
            line = (_PROC / str(pid) / "cgroup").read_text(encoding="utf-8").splitlines()[-1]
        except (OSError, IndexError):
            return None
        number, _, path = line.partition("::")
        folder = _CGROUPS / path.strip("/")
        if number != "0" or path.strip("/") == "" or not (folder / "cgroup.procs").exists():
            return None
        return cls(folder)

    def look(self) -> ProcessTotals:
        """Memory is what the kernel could not take back at once: without the cache of files."""
        try:
            cpu = self._fields("cpu.stat")["usage_usec"] / 1e6
            used = int((self.folder / "memory.current").read_text(encoding="utf-8"))
            memory = used - self._fields("memory.stat").get("inactive_file", 0)
            pids = (self.folder / "cgroup.procs").read_text(encoding="utf-8").split()
        except (OSError, ValueError, KeyError):  # it is gone
            return ProcessTotals(0.0, 0, frozenset())
        return ProcessTotals(cpu, max(0, memory), frozenset(map(int, pids)))

    def _fields(self, name: str) -> dict[str, int]:
        text = (self.folder / name).read_text(encoding="utf-8")
        return {key: int(value) for key, value in (line.split() for line in text.splitlines())}


@dataclass(slots=True)
class Watch:
    """Watches the processes of one target, from now on."""

    source: ProcessSource
    gpu: GpuWatch
    _began: float = field(default_factory=time.monotonic)
    _first: ProcessTotals = field(init=False)
    _last: ProcessTotals = field(init=False)
    _memory: int = 0

    def __post_init__(self) -> None:
        self._first = self._last = self.source.look()
        self._memory = self._first.memory

    def look(self) -> ProcessTotals:
        self._last = self.source.look()
        self._memory = max(self._memory, self._last.memory)
        return self._last

    def usage(self) -> Usage:
        cpu = self.look().cpu - self._first.cpu
        has_gpu = self.gpu.looks > 0
        return Usage(
            cpu=round(max(0.0, cpu) / (time.monotonic() - self._began), 2),
            memory_mb=round(self._memory / 1e6, 1),
            gpu=round(self.gpu.share, 3) if has_gpu else None,
            gpu_memory_mb=round(max(0.0, self.gpu.memory) * 1.048576, 1) if has_gpu else None,
        )


def _processes() -> Iterator[tuple[int, list[str]]]:
    """The id of each process, and its fields from its state on (`proc(5)`): session 3, utime 11,
    rss 21."""
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:  # it ended meanwhile
            continue
        yield int(path.parent.name), text.rpartition(")")[2].split()


@dataclass(frozen=True, slots=True)
class Meter:
    """What watches a target. `gpu_before`: MiB of all GPUs that were taken before it began."""

    source: ProcessSource | None
    gpu_before: float = 0.0

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Watch | None]:
        """A watch that looks now and then; None where the target is not ours, or not Linux's."""
        if self.source is None or not (_PROC / "self" / "stat").exists():
            yield None
            return
        watch = Watch(self.source, GpuWatch(self.gpu_before))

        async def look() -> None:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                watch.look()

        async def look_at_gpu() -> None:
            while (seen := await gpu_look()) is not None:
                watch.gpu.add(seen, watch.look().processes)
                await asyncio.sleep(GPU_SECONDS)

        tasks = [
            asyncio.create_task(look(), name="usage"),
            asyncio.create_task(look_at_gpu(), name="gpu"),
        ]
        try:
            yield watch
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def gpu_taken() -> float:
    """MiB of all GPUs that are taken now; 0 where there is none."""
    seen = await gpu_look()
    return seen.memory if seen is not None else 0.0
