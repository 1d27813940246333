"""The tutorials and how-tos, run as printed: their programs, and each command in a `sh` block."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from livepeer.trickle.media import VideoFrame, encode

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path for folder in ("tutorials", "how-to") for path in (DOCS / folder).glob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_page_is_true(page: Path, tmp_path: Path) -> None:
    steps, programs = [], 0
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            name = re.match(r"# (\w+\.py)\n", text)
            assert name is not None, "a program begins with its file's name"
            (tmp_path / name[1]).write_text(text)
            programs += 1
        elif language == "sh":
            steps.append(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # what is above is somebody else's
    grey = np.full((96, 160, 3), 120, np.uint8)
    frames = [VideoFrame.from_ndarray(grey, time=Fraction(at, 30)) for at in range(45)]
    encode(frames, tmp_path / "in.mp4", format="mp4")
    if not steps:
        assert not programs
        return
    # Each block begins in the folder of the page's files.
    script = "\n".join(f"cd {tmp_path}\n{step}" for step in steps)
    beside = os.path.dirname(sys.executable)
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{beside}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout


def test_the_site_is_built_without_a_warning() -> None:
    root = DOCS.parent
    done = subprocess.run(
        [root / "scripts" / "docs", "--site"], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    site = root / "build" / "site"
    pages = {path.relative_to(site).with_suffix("") for path in site.rglob("*.md")}
    assert len(pages) > 130
    for page in pages - {Path("index")}:
        assert (site / page / "index.html").is_file(), page
    errors = (site / "errors" / "index.html").read_text(encoding="utf-8")
    for code in (page.name for page in pages if page.parent == Path("errors")):
        assert f'href="{code}/"' in errors, code
    first = (site / "tutorials" / "request" / "index.html").read_text(encoding="utf-8")
    assert '<link rel="alternate" type="text/markdown" href="../request.md">' in first
