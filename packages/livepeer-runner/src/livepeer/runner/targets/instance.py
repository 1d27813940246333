"""One run of a target that we started: where it is, its process, and its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


class TargetProcess(Protocol):
    """The process that serves, or the first one of a container. `pid` is 0 where this machine
    cannot see it."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def terminate(self) -> None:
        """SIGTERM."""

    async def wait(self) -> int: ...


@dataclass(frozen=True, slots=True)
class TargetInstance:
    """A target that was started; it may still be loading. `host` is the address of this machine
    that it can call, None where there is none; `tail()` what it said last."""

    url: str
    process: TargetProcess
    host: str | None
    tail: Callable[[], str]


Launch = Callable[[Mapping[str, str]], AbstractAsyncContextManager[TargetInstance]]
"""Starts the target once more, with these variables in its environment."""
