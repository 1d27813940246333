"""The programs of the README run as they are printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

_README = (Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8")
_PROGRAMS = re.findall(r"^```python\n(.*?)^```", _README, re.MULTILINE | re.DOTALL)
_PRINTED = (
    "0 hello\n1 from\n2 trickle\n",
    "good morning\n",
    "30 frames of 320 x 180\nfrom bright to dark\n",
    "77 frames\n",
    "50 frames, 1.63",
    "188 bytes passed on, untouched\n",
)


@pytest.mark.parametrize("number", range(len(_PROGRAMS)))
@pytest.mark.slow
def test_a_program_of_the_readme_runs_as_printed(number: int, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(_PROGRAMS[number], "utf-8")
    result = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "HOME": str(tmp_path)},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.startswith(_PRINTED[number])


def test_the_readme_prints_what_its_first_program_prints() -> None:
    assert len(_PROGRAMS) == len(_PRINTED)
    assert f"```\n{_PRINTED[0]}```" in _README
