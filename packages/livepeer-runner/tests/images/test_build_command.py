"""`livepeer build` as a process: whoever stops it stops the engine with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from livepeer.runner.cli.build import what_to_do

LIVEPEER = (sys.executable, "-P", "-c", "from livepeer.trickle.cli import main; main()")
LIMIT = 60.0


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_stops_a_build_stops_its_engine_and_leaves_no_context(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tools := tmp_path / "tools").mkdir()
    (project := tmp_path / "project").mkdir()
    (places := tmp_path / "places").mkdir()
    (project / "pipeline.py").write_text(
        "from livepeer.runner import Pipeline\n\n\nclass X(Pipeline):\n    pass\n"
    )
    program(tools / "uv", "cat >/dev/null; echo numpy==2.0.0")
    # A builder that does not come to an end: it says who it is, and waits.
    began = tmp_path / "began"
    program(
        tools / "buildah",
        f'case "$1" in bud) echo $$ > {began}.new; mv {began}.new {began}; exec sleep 600 ;; esac',
    )
    process = subprocess.Popen(
        [*LIVEPEER, "build", "--engine", "buildah", "--sdk", "index"],
        cwd=project,
        env={
            **os.environ,
            "PATH": f"{tools}:/usr/bin:/bin",
            "TMPDIR": str(places),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        deadline = time.monotonic() + LIMIT
        while not began.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if not began.exists():
            process.kill()
            pytest.fail(process.communicate()[1])
        assert any(places.glob("livepeer-context-*"))
        process.send_signal(number)
        _, told = process.communicate(timeout=LIMIT)
    assert process.returncode not in (0, -number), told
    assert "Traceback" not in told
    with pytest.raises(ProcessLookupError):
        os.kill(int(began.read_text()), 0)
    assert not any(places.iterdir())


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        ("livepeer-runner was not found in the package registry", "--sdk FOLDER"),
        ("there is no version of livepeer-trickle==0.9.0", "--sdk FOLDER"),
        ("there is no version of numpy==0.9.0", "`python` in livepeer.yaml"),
    ],
)
def test_what_cannot_be_chosen_is_followed_by_what_to_do(refused: str, told: str) -> None:
    assert told in what_to_do(refused)
