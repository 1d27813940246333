"""A pipeline served in a process of its own, whose memory and liveness are watched under attack."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

LIMIT = 60.0
StartVictim = Callable[..., "Victim"]
PIPELINE = """
import os, time
from typing import Any
from livepeer.runner import File, Pipeline, serve

class Victim(Pipeline):
    capacity = int(os.environ.get("SLOTS", "1"))
    timeout = float(os.environ.get("TIMEOUT", "300"))

    def predict(
        self,
        text: str = "",
        files: list[File] = [],
        numbers: list[int] = [],
        table: dict[str, int] = {},
        anything: Any = None,
        sleep: float = 0.0,
    ) -> int:
        time.sleep(sleep)
        return len(text) + len(files) + len(numbers) + len(table)

if __name__ == "__main__":
    serve(Victim)
"""


class Victim:
    """The process: `port`, what it `said`, its memory, and how long its `/health` took at worst."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.port = int(self.wait_for(r"serves on http://[^ ]*?:(\d+) ")[1])
            self.wait_for("is ready after")
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Kill it; its pipe is closed when it has been read."""
        self.process.kill()
        self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._said:
                self.lines.append(line.rstrip())
                self._said.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str) -> re.Match[str]:
        with self._said:
            found = self._said.wait_for(lambda: re.search(pattern, self.output), LIMIT)
        assert found, f"never said {pattern!r}; said:\n{self.output}"
        return found

    @property
    def rss(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def peak(self) -> int:
        """Highest resident memory so far, in bytes."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", text)
        assert found
        return int(found[1]) * 1024

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=LIMIT, trust_env=False)

    def post(self, body: bytes | dict[str, Any], **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(
            f"http://127.0.0.1:{self.port}/predict",
            content=content,
            headers=headers,
            timeout=LIMIT,
            trust_env=False,
        )

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT)

    @contextmanager
    def watched(self) -> Iterator[list[float]]:
        """Ask `/health` and `/ready` again and again meanwhile; seconds of each answer."""
        seconds: list[float] = []
        over = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False) as http:
                while True:
                    for path in ("/health", "/ready"):
                        started = time.perf_counter()
                        http.get(path, timeout=LIMIT)
                        seconds.append(time.perf_counter() - started)
                    if over.wait(0.005):
                        return

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        try:
            yield seconds
        finally:
            over.set()
            thread.join(LIMIT)


@contextmanager
def starting(folder: Path) -> Iterator[StartVictim]:
    with ExitStack() as stack:

        def start(files: int | None = None, **environment: str) -> Victim:
            (folder / "pipeline.py").write_text(PIPELINE)
            inherited = {
                key: value
                for key, value in os.environ.items()
                if not key.startswith(("LIVEPEER_", "ORCH_", "CAPABILITY_"))
            }
            process = subprocess.Popen(
                [sys.executable, "pipeline.py"],
                cwd=folder,
                env={**inherited, "HOST": "127.0.0.1", "PORT": "0", **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
                if files
                else None,
            )
            victim = Victim(process)
            stack.callback(victim.end)
            return victim

        yield start


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[StartVictim]:
    """`victim(SLOTS="2", ...)` starts one with that environment; `files` is its limit of them."""
    with starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def shared_victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """One for all tests of a module, with one slot. What harms it for good is none's to do."""
    with starting(tmp_path_factory.mktemp("victim")) as start:
        running = start()
        running.post({"text": "warm"})
        yield running
