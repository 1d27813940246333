"""The commands as such: listed, light, and helpful."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import typer

from livepeer.runner.cli import commands, options

if TYPE_CHECKING:
    from conftest import Folder

NAMES = [command.name for command in commands]
# pydantic is not among them: typer itself imports it.
HEAVY = {"fastapi", "av", "numpy", "uvicorn", "aiohttp", "watchfiles", "yaml"}


def imported_by(code: str) -> set[str]:
    """The top-level modules that are there after it."""
    script = (
        f"import sys\n{code}\nprint(sorted({{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=200
    )
    return set(ast.literal_eval(done.stdout))


def test_listing_the_commands_imports_none_of_them() -> None:
    imported = imported_by("from livepeer.runner.cli import commands")
    assert not imported & {*HEAVY, "typer", "rich"}


def test_help_shows_examples_and_imports_nothing_heavy() -> None:
    """Each command in a process of its own, forked from one that has typer already."""
    script = """if True:
        import os, sys, typer.rich_utils
        from livepeer.trickle.cli import main
        for name in sys.argv[1:]:
            print("\\f" + name, flush=True)
            if not os.fork():
                try:
                    main([name, "--help"])
                finally:
                    print({name.partition(".")[0] for name in sys.modules}, flush=True)
                    os._exit(0)
            os.wait()
    """
    done = subprocess.run(
        [sys.executable, "-c", script, *NAMES], capture_output=True, text=True, timeout=200
    )
    assert done.stderr == ""
    helps = dict(each.split("\n", 1) for each in done.stdout.split("\f")[1:])
    assert list(helps) == NAMES
    for name, text in helps.items():
        assert "Examples:" in text, name
        assert f"livepeer {name}" in text
        imported = ast.literal_eval(text.splitlines()[-1])
        assert "livepeer" in imported
        assert not imported & HEAVY, name


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_wrong_usage(folder: Folder, name: str) -> None:
    done = folder.livepeer(name, "--no-such-option")
    assert done.returncode == 2
    assert "--no-such-option" in done.stderr


def test_schema_prints_what_the_served_pipeline_answers(folder: Folder) -> None:
    folder.write(
        pipeline="""
        from livepeer.runner import Pipeline
        class Double(Pipeline):
            '''Twice as much.'''
            def predict(self, x: int) -> int: return 2 * x
        """
    )
    document = json.loads(folder.livepeer("schema").stdout)
    assert document["id"] == "double"
    assert document["description"] == "Twice as much."
    assert document["input"]["properties"]["x"]["type"] == "integer"


def test_schema_of_a_class_that_cannot_be_served_says_what_to_write(folder: Folder) -> None:
    folder.write(
        pipeline="""
        from livepeer.runner import Pipeline
        class Double(Pipeline):
            def predict(self, x): return 2 * x
        """
    )
    done = folder.livepeer("schema")
    assert done.returncode == 1
    assert "Double.predict()" in done.stderr
    assert "Traceback" not in done.stderr


PREPARES = """
    from livepeer.runner import Pipeline
    class Model(Pipeline):
        @classmethod
        def prepare_models(cls) -> None:
            (cls.model_dir / "weights.bin").write_bytes(b"w" * 1000)
        def predict(self) -> int: return 1
"""


def test_prepare_fetches_weights_into_the_folder_that_it_names(folder: Folder) -> None:
    folder.write(pipeline=PREPARES)
    place = folder.path / "models" / "here"
    done = folder.livepeer("prepare", LIVEPEER_MODEL_DIR=str(place))
    assert (place / "weights.bin").stat().st_size == 1000
    told = json.loads(done.stdout)
    assert (told["model_dir"], told["bytes"]) == (str(place), 1000)


def test_prepare_that_fails_shows_where(folder: Folder) -> None:
    folder.write(pipeline=PREPARES.replace('w" * 1000', 'w" * (1 // 0)'))
    done = folder.livepeer("prepare", LIVEPEER_MODEL_DIR=str(folder.path))
    assert done.returncode == 1
    assert 'pipeline.py", line 6' in done.stderr
    assert "prepare_models raised ZeroDivisionError" in done.stderr


def test_prepare_says_which_variable_names_a_folder_that_can_be_written(folder: Folder) -> None:
    folder.write(pipeline=PREPARES)
    (folder.path / "file").write_text("")
    done = folder.livepeer("prepare", LIVEPEER_MODEL_DIR=str(folder.path / "file" / "models"))
    assert done.returncode == 1
    assert "LIVEPEER_MODEL_DIR" in done.stderr


def test_a_command_of_the_dev_extra_names_it_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    with pytest.raises(typer.Exit) as stop:
        options.extra_dev("livepeer dev", "cryptography", "watchfiles")
    assert stop.value.exit_code == 2
    told = "Error: livepeer dev needs cryptography, watchfiles: pip install 'livepeer-runner[dev]'"
    assert capsys.readouterr().err.strip() == told
