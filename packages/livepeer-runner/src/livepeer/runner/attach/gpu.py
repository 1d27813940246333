"""The GPUs of this machine, as `nvidia-smi` lists them."""

from __future__ import annotations

import asyncio
import subprocess
from typing import NamedTuple

_COMMAND = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
_LIMIT_S = 5.0


class GPU(NamedTuple):
    """`vram_mb` in MiB, as the driver counts."""

    name: str
    vram_mb: int


async def read_gpus() -> list[GPU]:
    """What `nvidia-smi` says; empty on a machine without one, or where it does not answer."""
    return await asyncio.to_thread(_run)


def _run() -> list[GPU]:
    try:
        done = subprocess.run(_COMMAND, capture_output=True, timeout=_LIMIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return parse(done.stdout.decode("utf-8", "replace"))


def parse(listing: str) -> list[GPU]:
    """The lines `name, MiB`; a line that is none (a driver's complaint) is left out."""
    found = []
    for line in listing.splitlines():
        name, _, memory = line.rpartition(",")
        if name.strip() and memory.strip().isdigit():
            found.append(GPU(name.strip(), int(memory)))
    return found


def describe(gpus: list[GPU]) -> str:
    """One line for people: `2 x NVIDIA L4, 22 GB VRAM each`; empty without a GPU."""
    if not gpus:
        return ""
    first = gpus[0]
    gigabytes = round(first.vram_mb / 1024)
    if len(gpus) == 1:
        return f"{first.name}, {gigabytes} GB VRAM"
    if len(set(gpus)) == 1:
        return f"{len(gpus)} x {first.name}, {gigabytes} GB VRAM each"
    return "; ".join(describe([gpu]) for gpu in gpus)
