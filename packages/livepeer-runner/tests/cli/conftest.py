"""The `livepeer` command as a process, in a folder of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

LIVEPEER = (sys.executable, "-P", "-c", "from livepeer.trickle.cli import main; main()")
LIMIT = 120.0
# What a developer's own shell may say would change what is tested.
FOREIGN = ("LIVEPEER_", "ORCH_", "CAPABILITY_", "HOST", "PORT", "PREPARE_MODELS")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"} | more


class Running:
    """A command that runs on, with what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._text: list[str] = []
        self._changed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (process.stdout, process.stderr)
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    @property
    def text(self) -> str:
        return "".join(self._text)

    def _read(self, stream: object) -> None:
        for line in stream:  # type: ignore[attr-defined]
            with self._changed:
                self._text.append(line)
                self._changed.notify_all()

    def wait_for(self, part: str, count: int = 1) -> str:
        """Until it has printed `part` so many times; all that it printed."""
        deadline = time.monotonic() + LIMIT
        with self._changed:
            while self.text.count(part) < count:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    pytest.fail(f"no {part!r} (x{count}) in:\n{self.text}")
            return self.text

    def interrupt(self) -> int:
        """Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> int:
        status = self.process.wait(LIMIT)
        self.read_all()
        return status

    def read_all(self) -> None:
        """Of a process that has ended, or is killed: its pipes may be closed then."""
        for reader in self._readers:
            reader.join(LIMIT)


class Folder:
    """A folder, and `livepeer` in it."""

    def __init__(self, path: Path, commands: tuple[str, ...]) -> None:
        self.path = path
        self._commands = commands

    def write(self, **files: str) -> None:
        """`write(pipeline="...")` makes `pipeline.py`."""
        for name, source in files.items():
            (self.path / f"{name}.py").write_text(dedent(source))

    def livepeer(
        self, *arguments: str, input: str | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._commands, *arguments],
            cwd=self.path,
            env=environment(**env),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )

    @contextmanager
    def running(
        self, *arguments: str, terminal: int | None = None, **env: str
    ) -> Iterator[Running]:
        """Killed at the end, if it has not ended. `terminal`: where standard error goes."""
        process = subprocess.Popen(
            [*LIVEPEER, *arguments],
            cwd=self.path,
            env=environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if terminal is None else terminal,
            text=True,
        )
        with process:
            running = Running(process)
            try:
                yield running
            finally:
                process.kill()
                running.read_all()


@pytest.fixture
def folder(tmp_path: Path, commands: tuple[str, ...]) -> Folder:
    return Folder(tmp_path, commands)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of grey pictures, 160x96, 30 a second."""
    from fractions import Fraction

    import numpy as np

    from livepeer.trickle.media import VideoFrame, encode

    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    pixels = np.full((96, 160, 3), 120, np.uint8)
    frames = [VideoFrame.from_ndarray(pixels, time=Fraction(index, 30)) for index in range(30)]
    encode(frames, path, format="mp4")
    return path
