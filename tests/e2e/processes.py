"""Processes whose output is read as it comes, and whose end is checked."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

START = 120.0
"""Seconds; what is awaited takes one or two on an idle machine."""
STOP = 60.0

#: What no process may print, however it ends.
ACCIDENTS = (
    "Traceback (most recent call last)",
    "was never retrieved",
    "never awaited",
    "Unclosed",
)


class Process:
    """A Python program in a process of its own, its output kept line by line."""

    def __init__(
        self, name: str, program: Path, *arguments: str, cwd: Path, env: Mapping[str, str]
    ) -> None:
        self.name = name
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._popen = subprocess.Popen(
            [sys.executable, "-W", "default", str(program), *arguments],
            cwd=cwd,
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._ended = False
        self._reader = threading.Thread(target=self._read, name=f"log of {name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def find(
        self, pattern: str, after: int = 0, limit: float = START, *, times: int = 1
    ) -> re.Match[str]:
        """The first line after `after` lines that the pattern is found in, waiting for it; `times`:
        the second and so on."""
        deadline = time.monotonic() + limit
        wanted = re.compile(pattern)
        with self._news:
            while True:
                for line in self.lines[after:]:
                    if found := wanted.search(line):
                        times -= 1
                        if not times:
                            return found
                after = len(self.lines)
                left = deadline - time.monotonic()
                assert not self._ended, f"{self.name} has ended without saying {pattern!r}"
                assert left > 0, f"{self.name} did not say {pattern!r} within {limit:g} s"
                self._news.wait(left)

    async def says(self, pattern: str, after: int = 0, limit: float = START) -> re.Match[str]:
        """`find` for async tests."""
        return await asyncio.to_thread(self.find, pattern, after, limit)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def stop(self) -> None:
        """End it as a platform does, with SIGTERM; it has to go quietly, with status 0."""
        self._popen.send_signal(signal.SIGTERM)
        try:
            status = self._popen.wait(STOP)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} was still there {STOP:g} s after SIGTERM") from None
        self._close()
        assert status == 0, f"{self.name} ended with status {status}"
        for i, line in enumerate(self.lines):
            if any(text in line for text in ACCIDENTS):
                said = "\n".join(self.lines[max(0, i - 3) : i + 40])
                raise AssertionError(f"{self.name} said:\n{said}")

    def kill(self) -> None:
        """End it as a crash does. Safe to repeat."""
        self._popen.kill()
        self._popen.wait()
        self._close()

    def _close(self) -> None:
        self._reader.join(STOP)
        assert self._popen.stdout is not None
        self._popen.stdout.close()


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """The surroundings of the tests, without what would steer a pipeline."""
    steers = ("LIVEPEER_", "ORCH_", "CAPABILITY_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(steers)}
    return {**kept, "PYTHONUNBUFFERED": "1", **given}
