"""What an NVIDIA GPU does, by `nvidia-smi`: the tool is there wherever its driver is."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

TOOL: Final = "nvidia-smi"
ANSWER_SECONDS: Final = 5.0
LARGEST_ANSWER: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class GpuLook:
    """All GPUs at one moment. `memory` and `processes` in MiB."""

    busy: float
    """The share of the busiest one's time, 0 to 1."""
    memory: float
    processes: dict[int, float]
    """By process id, as the tool's own namespace has them."""


async def look() -> GpuLook | None:
    """Ask `nvidia-smi` once; None if there is no GPU, or it does not answer."""
    if shutil.which(TOOL) is None:
        return None
    devices = await _ask("--query-gpu=utilization.gpu,memory.used")
    if not devices:
        return None
    processes: dict[int, float] = {}
    for row in await _ask("--query-compute-apps=pid,used_memory"):
        if len(row) == 2 and row[0].isdigit():
            processes[int(row[0])] = processes.get(int(row[0]), 0.0) + _number(row[1])
    return GpuLook(
        busy=max(_number(row[0]) for row in devices) / 100,
        memory=sum(_number(row[-1]) for row in devices),
        processes=processes,
    )


@dataclass(slots=True)
class GpuWatch:
    """Looks summed up: the share of time, and the memory of a target's processes at most."""

    before: float
    """MiB that were used before the target began, by all; 0 where nobody looked."""
    busy: float = 0.0
    looks: int = 0
    memory: float = 0.0

    def add(self, seen: GpuLook, processes: Collection[int]) -> None:
        self.looks += 1
        self.busy += seen.busy
        own = [size for pid, size in seen.processes.items() if pid in processes]
        self.memory = max(self.memory, sum(own) if own else seen.memory - self.before)

    @property
    def share(self) -> float:
        return self.busy / self.looks if self.looks else 0.0


async def _ask(query: str) -> list[list[str]]:
    """The fields of each line; nothing where the tool fails, is slow, or says too much."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(TOOL, query, "--format=csv,noheader,nounits"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return []
    assert process.stdout is not None
    text = b""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while piece := await process.stdout.read(1 << 16):
                text += piece
                if len(text) > LARGEST_ANSWER:
                    return []
            if await process.wait() != 0:
                return []
    except TimeoutError:
        return []
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            # asyncio takes a process for running while a pipe of it has something to be read.
            while await process.stdout.read(1 << 16):
                pass
            await process.wait()
    lines = text.decode("utf-8", "replace").splitlines()
    return [[part.strip() for part in line.split(",")] for line in lines if line.strip()]


def _number(text: str) -> float:
    """`[N/A]`, `[Not Supported]` and the like count as 0."""
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0
