"""Jobs that never end, processes that end without a word, orphans that nobody waits for."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import httpx
import psutil
import pytest

from livepeer.runner import Pipeline
from livepeer.runner.running import lifecycle, slots

LIMIT = 60.0


async def test_a_job_that_never_ends_shows_in_ready_and_then_in_health(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "STUCK_SECONDS", 0.1)
    monkeypatch.setattr(lifecycle, "HOPELESS_SECONDS", 0.2)
    go_on = threading.Event()

    class Stuck(Pipeline):
        timeout = 0.2

        def predict(self) -> str:
            go_on.wait(LIMIT)
            return ""

    async with served(Stuck, strict_health=True) as s:

        async def until(path: str, status: int) -> httpx.Response:
            async with asyncio.timeout(LIMIT):
                while (answer := await s.http.get(path)).status_code != status:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            found: httpx.Response = answer
            return found

        assert (await s.post()).status_code == 504
        assert "overran" in (await until("/ready", 503)).json()["error"]["message"]
        assert (await s.post()).json()["error"]["type"] == "not_ready"
        health = (await until("/health", 503)).json()
        assert health["status"] == "ERROR" and "overran" in health["reason"]
        go_on.set()
        assert (await until("/ready", 200)).json() == {"ready": True}
        assert "reason" not in (await until("/health", 200)).json()


def test_a_segfault_leaves_a_line_with_its_place(victim: Any) -> None:
    running = victim()
    os.kill(running.process.pid, signal.SIGSEGV)
    running.process.wait(LIMIT)
    running._reader.join(LIMIT)
    assert "Fatal Python error: Segmentation fault" in running.output
    assert "File " in running.output


INIT = """
import ctypes, os, subprocess, sys, time
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
from livepeer.runner.cli.init_process import become_init
become_init()
# Grandchildren whose parents have gone: the init's from then on.
for _ in range(5):
    subprocess.run(["sh", "-c", "sleep 0.05 &"], check=True)
print("worker", os.getpid(), os.getppid(), flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(7)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted by the kernel's rules")
def test_process_1_reaps_orphans_forwards_signals_and_ends_as_its_worker() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", INIT], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        _, worker, parent = process.stdout.readline().split()
        assert int(parent) == process.pid
        limit = time.monotonic() + LIMIT
        while [child.pid for child in psutil.Process(process.pid).children()] != [int(worker)]:
            assert time.monotonic() < limit
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 7
