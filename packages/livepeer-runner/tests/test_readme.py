"""The README: what it prints is what happens."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from livepeer.runner.metrics import Metrics
from livepeer.trickle.media import VideoFrame, encode

README = (Path(__file__).parents[1] / "README.md").read_text()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LIMIT = 60


def files() -> dict[str, str]:
    """The Python blocks that begin with a file's name."""
    found = {}
    for language, text in FENCE.findall(README):
        if language == "python" and (name := re.match(r"# (\w+\.py)\n", text)):
            found[name[1]] = text
    return found


def transcripts() -> list[list[tuple[str, str]]]:
    """The console blocks, each as commands with what they print."""
    return [
        [
            (command, printed)
            for command, printed in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
        ]
        for language, text in FENCE.findall(README)
        if language == "console"
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    return tmp_path


@contextmanager
def running(folder: Path, name: str) -> Iterator[str]:
    """Start a file of the README as it says; gives the port."""
    process = subprocess.Popen(
        [sys.executable, name],
        cwd=folder,
        env={**os.environ, "HOST": "127.0.0.1", "PORT": "0"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        port = ""
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                port = found[1]
            if "is ready" in line:
                break
        yield port
    finally:
        process.kill()
        process.wait(LIMIT)
        process.stderr.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README calls curl")
@pytest.mark.slow
def test_the_commands_print_what_the_readme_says(folder: Path) -> None:
    blocks = transcripts()
    assert len(blocks) == 3
    for name, some in (("pipeline.py", blocks[:2]), ("stream.py", blocks[2:])):
        with running(folder, name) as port:
            for command, printed in (pair for block in some for pair in block):
                arguments = shlex.split(command.replace(":8000", f":{port}"))
                done = subprocess.run(
                    arguments, capture_output=True, text=True, timeout=LIMIT, check=True
                )
                assert done.stdout.strip() == printed.strip(), command


@pytest.mark.parametrize("name", ["test_pipeline.py", "test_tint.py"])
@pytest.mark.slow
def test_the_tests_of_the_readme_pass(folder: Path, name: str) -> None:
    frames = (
        VideoFrame.from_ndarray(np.full((96, 160, 3), 120, np.uint8), time=Fraction(index, 30))
        for index in range(30)
    )
    encode(frames, folder / "clip.mp4")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "pytest_asyncio.plugin", name],
        cwd=folder,
        # Only what `livepeer-runner[dev]` brings.
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_every_python_block_compiles() -> None:
    import ast

    blocks = [text for language, text in FENCE.findall(README) if language == "python"]
    assert len(blocks) >= 6
    for text in blocks:
        compile(text, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_variable_that_is_read_is_in_the_readme_or_of_live_streams() -> None:
    from livepeer.runner import settings

    read = set(re.findall(r"`((?:LIVEPEER_|PREPARE_)\w+)`", settings.__doc__ or ""))
    told = set(re.findall(r"`((?:LIVEPEER_|PREPARE_)\w+)", README))
    assert read - told <= {
        "LIVEPEER_ORCH_SECRET_FILE",
        "LIVEPEER_REGISTRATION",
        "LIVEPEER_TRICKLE_HOSTS",
    }


def test_every_metric_is_in_the_readme() -> None:
    metrics = Metrics()
    for name in re.findall(r"# TYPE (livepeer_\w+)", metrics.render().decode()):
        if not name.endswith("_created"):
            assert name in README
