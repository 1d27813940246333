"""`livepeer doctor`: a class by itself, exit codes, and what it leaves behind: nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from livepeer.runner import Pipeline
from livepeer.runner.doctor.diagnosis import Diagnosis, Examined
from livepeer.runner.doctor.examination import CHECKS
from livepeer.runner.doctor.report import lines
from livepeer.runner.testing import doctor

LIVEPEER = (sys.executable, "-P", "-c", "from livepeer.trickle.cli import main; main()", "doctor")
LIMIT = 120.0

GOOD = """
    from livepeer.runner import Pipeline
    class Double(Pipeline):
        def predict(self, x: int = 2) -> int: return 2 * x
"""
STUBBORN = """
    import os
    from livepeer.runner import Pipeline
    class Stubborn(Pipeline):
        kept = []
        def predict(self, x: int = 2) -> int:
            self.kept.append(open(os.devnull))
            return x
        def teardown(self) -> None: os._exit(3)
"""


def ran(folder: Path, pipeline: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "pipeline.py").write_text(dedent(pipeline))
    return subprocess.run(
        [*LIVEPEER, *arguments], cwd=folder, capture_output=True, text=True, timeout=LIMIT
    )


def test_a_clean_pipeline_is_0_and_a_document_on_a_pipe(tmp_path: Path) -> None:
    done = ran(tmp_path, GOOD, "--only", "http.ready", "--only", "process.sigterm", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["summary"] == {"passed": 2, "must": 0, "should": 0, "not_judged": 0}


@pytest.mark.slow
def test_what_must_be_mended_is_1_and_says_how_without_colours(tmp_path: Path) -> None:
    done = ran(tmp_path, STUBBORN, "--only", "process", "--strict")
    assert done.returncode == 1, done.stderr
    assert "seen: 50 rounds left" in done.stdout
    assert "seen: a SIGTERM ended it with status 3" in done.stdout
    assert "conformance.md#processsigterm" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.slow
def test_files_of_a_clean_pipeline_are_closed(tmp_path: Path) -> None:
    done = ran(tmp_path, GOOD, "--only", "process.files", "--json")
    assert json.loads(done.stdout)["summary"]["passed"] == 1, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pipeline", "arguments", "why"),
    [
        ("raise OSError('no weights')", (), "no weights"),
        (GOOD, ("--only", "htpp"), "no such group or check"),
        (GOOD, ("ftp://host",), "named by its URL"),
    ],
)
def test_what_cannot_be_examined_is_2_and_says_why(
    tmp_path: Path, pipeline: str, arguments: tuple[str, ...], why: str
) -> None:
    done = ran(tmp_path, pipeline, *arguments)
    assert done.returncode == 2, done.stdout
    assert why in done.stderr


def test_people_read_what_could_not_be_judged_last_by_its_reason() -> None:
    check = next(one for one in CHECKS if one.id == "http.ready")
    other = next(one for one in CHECKS if one.id == "sse.done")
    asked = [Examined(check, reason="why not"), Examined(other), Examined(other, reason="why not")]
    told = [text.plain for text in lines(Diagnosis("x", "batch", asked))]
    assert told[1] == "    --  http.ready, sse.done\n        why not"
    assert told[-1].startswith("\n1 checks: 1 passed")


def test_the_list_names_every_check(tmp_path: Path) -> None:
    done = subprocess.run([*LIVEPEER, "--list", "--json"], capture_output=True, timeout=LIMIT)
    assert [one["id"] for one in json.loads(done.stdout)] == [check.id for check in CHECKS]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_pipelines_process_ends_however_the_doctor_does(
    tmp_path: Path, how: signal.Signals
) -> None:
    mine = tmp_path / "pid"
    (tmp_path / "pipeline.py").write_text(
        dedent(f"""
        import os, pathlib, time
        from livepeer.runner import Pipeline
        class Slow(Pipeline):
            def setup(self) -> None:
                pathlib.Path({str(mine)!r}).write_text(str(os.getpid()))
                while True: time.sleep(0.1)
            def predict(self) -> int: return 1
        """)
    )
    with subprocess.Popen(LIVEPEER, cwd=tmp_path, stderr=subprocess.DEVNULL) as doctor_:
        _until(lambda: mine.exists() and mine.read_text() != "")
        doctor_.send_signal(how)
    pid = int(mine.read_text())
    _until(lambda: not _is_running(pid))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or ") Z" not in state.read_text()


def _until(condition: object) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Brief(Pipeline):
    timeout = 0.3

    async def predict(self, seconds: float = 0.0) -> float:
        await asyncio.sleep(seconds)
        return seconds


class Greeter(Pipeline):
    def predict(self, name: str = "Ada") -> str:
        return f"Hello, {name}"


def test_an_authors_own_test_is_one_line() -> None:
    assert doctor(Greeter, only=["http", "schema"]).problems == []
    # What only its author knows: the words of the command.
    told = doctor(Brief, overlong={"seconds": 9}, capacity=1, only=["batch.own-limit"])
    assert [each.outcome for each in told.examined] == ["passed"]
