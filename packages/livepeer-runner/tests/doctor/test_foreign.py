"""Containers that were not made with this SDK: their real faults are found, and nothing else."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from livepeer.runner.doctor.container import Patience
from livepeer.runner.doctor.diagnosis import Diagnosis
from livepeer.runner.doctor.examination import CannotExamine, Examination
from livepeer.runner.serving.listener import bind
from livepeer.runner.targets.hosting import OpenTarget

HERE = Path(__file__).parent
BUILD_SECONDS = 200.0


@contextmanager
def running(*command: str) -> Iterator[str]:
    """The program's URL; its first line is where it listens."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://{process.stdout.readline().strip()}"
        finally:
            process.kill()


def examined(url: str, route: str) -> Diagnosis:
    examination = Examination(
        route=route, input=b'{"text": "abc"}', capacity=2, patience=Patience(idle=3.0, gone=1.0)
    )
    return asyncio.run(examination.of(OpenTarget(url)))


def found(diagnosis: Diagnosis) -> list[str]:
    return [one.check.id for one in diagnosis.examined if one.outcome == "problem"]


def test_a_hand_made_fastapi_redirects_and_closes_idle_connections() -> None:
    with running(sys.executable, str(HERE / "foreign_fastapi.py")) as url:
        diagnosis = examined(url, "text-reversal")
    assert found(diagnosis) == ["http.no-redirect", "http.keep-alive"]


@pytest.mark.slow
def test_a_go_server_calls_a_callers_fault_its_own(tmp_path: Path) -> None:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        pytest.skip("go is not installed: a net/http container was not examined")
    program = str(tmp_path / "foreign")
    subprocess.run(
        [go, "build", "-o", program, str(HERE / "foreign.go")],
        check=True,
        timeout=BUILD_SECONDS,
        # The user's own build cache: the standard library is compiled once.
        env={**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GO111MODULE": "off"},
    )
    with running(program) as url:
        diagnosis = examined(url, "reverse")
    assert found(diagnosis) == ["http.client-errors", "http.keep-alive"]


@pytest.mark.slow
async def test_a_pytrickle_container_enforces_no_capacity_and_stops_once() -> None:
    python = os.environ.get("LIVEPEER_PYTRICKLE_PYTHON")
    if python is None:
        # It brings torch: two gigabytes, in an environment of its own.
        pytest.skip(
            "LIVEPEER_PYTRICKLE_PYTHON names no Python that has pytrickle: not examined "
            "(uv venv x; uv pip install --python x pytrickle)"
        )
    with bind("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    program = (python, str(HERE / "foreign_pytrickle.py"), str(port))
    process = await asyncio.create_subprocess_exec(*program)
    try:
        target = OpenTarget(f"http://127.0.0.1:{port}")
        examination = Examination(capacity=1, quick=True, patience=Patience(gone=3.0))
        async with asyncio.timeout(60):
            while True:
                try:
                    checks = Examination(only=["http.health"])
                    await checks.of(target)
                    break
                except CannotExamine:
                    await asyncio.sleep(0.2)
        diagnosis = await examination.of(target)
    finally:
        process.kill()
        await process.wait()
    wanted = ["live.stops", "live.bad-params", "live.input-end", "live.capacity"]
    assert found(diagnosis) == wanted
