from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent


def test_the_tables_in_the_readmes_are_those_that_the_examples_give() -> None:
    checked = subprocess.run(
        [sys.executable, EXAMPLES / "table.py", "--check"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def test_the_readmes_show_every_example() -> None:
    folders = {file.parent.name for file in EXAMPLES.glob("[a-z]*/pipeline.py")}
    assert folders == {file.parent.name for file in EXAMPLES.glob("[a-z]*/livepeer.yaml")}
    for readme, prefix in (
        (EXAMPLES / "README.md", ""),
        (EXAMPLES.parent / "README.md", "examples/"),
    ):
        for folder in folders:
            assert f"]({prefix}{folder})" in readme.read_text()


def test_every_example_is_explained_and_tested() -> None:
    for manifest in EXAMPLES.glob("[a-z]*/livepeer.yaml"):
        folder = manifest.parent
        assert (folder / "README.md").stat().st_size > 500, folder
        assert (folder / f"test_{folder.name}.py").exists(), folder
