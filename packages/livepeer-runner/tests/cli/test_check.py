"""`livepeer check`, and the commands that run it before they begin."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import typer

from livepeer.runner.cli import options
from livepeer.runner.packaging.load import locate

if TYPE_CHECKING:
    from conftest import Folder

WRONG = """
    from livepeer.runner import Pipeline
    class Double(Pipeline):
        def predict(self, x): return 2 * x
"""
SLOW = """
    import time
    from livepeer.runner import Pipeline
    class Double(Pipeline):
        async def predict(self, x: int) -> int:
            time.sleep(1)
            return 2 * x
"""


def test_a_mistake_is_told_with_its_line_and_fix_and_ends_with_1(folder: Folder) -> None:
    folder.write(pipeline=WRONG)
    done = folder.livepeer("check", "--no-import")
    assert done.returncode == 1
    *_, second, fix, last = done.stdout.splitlines()
    assert second.startswith("pipeline.py:4:23: error: ") and second.endswith("[type_missing]")
    assert fix.startswith("    fix: write `x: str`")
    assert "2 errors, 0 warnings" in last and "livepeer explain type_missing" in last


def test_warnings_end_with_0_or_strictly_with_1(folder: Folder) -> None:
    folder.write(pipeline=SLOW)
    assert folder.livepeer("check", "--no-import").returncode == 0
    done = folder.livepeer("check", "--no-import", "--strict", "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["summary"] == {"errors": 0, "warnings": 1, "notes": 0}
    assert document["findings"][0]["file"] == "pipeline.py"


def test_nothing_to_be_checked_ends_with_2(folder: Folder) -> None:
    done = folder.livepeer("check")
    assert done.returncode == 2
    assert "livepeer init" in done.stderr


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("build",), ("push",)])
def test_a_mistake_stops_what_would_run_it(folder: Folder, command: tuple[str, ...]) -> None:
    folder.write(pipeline=WRONG)
    done = folder.livepeer(*command)
    assert done.returncode == 1
    assert "pipeline.py:4:23: error: " in done.stderr
    assert "livepeer explain type_missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_warning_is_shown_once_and_stops_nothing(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write(pipeline=SLOW)
    options.checked(locate(str(folder.path)))
    assert capsys.readouterr().err.count("[blocking_call]") == 1


def test_where_a_save_may_mend_it_a_mistake_is_only_shown(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write(pipeline=WRONG)
    options.checked(locate(str(folder.path)), stop=False)
    assert "[type_missing]" in capsys.readouterr().err
    with pytest.raises(typer.Exit):
        options.checked(locate(str(folder.path)))
