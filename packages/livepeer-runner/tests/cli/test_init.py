"""`livepeer init`: what it writes runs, and nothing is ever overwritten."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from livepeer.runner.cli.init import class_name
from livepeer.runner.cli.templates import KINDS, render, workflow
from livepeer.runner.packaging.manifest import Manifest

if TYPE_CHECKING:
    from conftest import Folder

FILES = {
    ".gitignore",
    "README.md",
    "livepeer.yaml",
    "pipeline.py",
    "requirements.txt",
    "test_pipeline.py",
}


@pytest.mark.parametrize("template", KINDS)
def test_a_new_pipeline_passes_its_own_test(folder: Folder, template: str) -> None:
    done = folder.livepeer("init", "my-model", "--template", template)
    assert done.returncode == 0, done.stderr
    made = folder.path / "my-model"
    assert {path.name for path in made.iterdir()} == FILES
    assert Manifest.read(made / "livepeer.yaml").pipeline == "pipeline:MyModel"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    clean["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # only what `livepeer-runner[dev]` brings
    test = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "pytest_asyncio.plugin",
            "--rootdir",
            str(made),
        ],
        cwd=made,
        env=clean,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert test.returncode == 0, test.stdout + test.stderr
    assert re.search(r"\d passed", test.stdout)


@pytest.mark.parametrize("template", KINDS)
def test_what_is_written_is_clean(tmp_path: Path, template: str) -> None:
    values = {"Class": "MyModel", "id": "my-model", "version": "0.1.0"}
    values |= {"about": "", "input": "", "call": ""}
    for name, text in render(template, values).items():
        assert "$" not in text.replace("$schema=", ""), name
        (tmp_path / name).write_text(text)
    for check in (["check", "--select", "E,F,W,I,UP,B,C4,RUF,BLE"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *check, "--isolated", "--line-length", "100", "."]
        done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len((tmp_path / "pipeline.py").read_text().splitlines()) <= 42


def test_a_file_that_is_there_stops_it_before_anything_is_written(folder: Folder) -> None:
    folder.write(pipeline="mine = 1\n")
    done = folder.livepeer("init", ".", "--name", "mine")
    assert done.returncode == 1
    assert "pipeline.py in . would be overwritten" in done.stderr
    assert {path.name for path in folder.path.iterdir()} == {"pipeline.py"}
    assert (folder.path / "pipeline.py").read_text() == "mine = 1\n"


def test_the_next_commands_are_printed_and_the_first_works(folder: Folder) -> None:
    done = folder.livepeer("init", "my-model")
    steps = [line.strip() for line in done.stderr.split("Next:")[1].strip().splitlines()]
    assert steps == ["cd my-model", 'livepeer predict -i text="I love it"', "livepeer serve"]
    result = folder.livepeer("predict", "my-model", "-i", "text=I love it")
    assert json.loads(result.stdout) == {"label": "positive", "score": 1.0}


@pytest.mark.parametrize("name", ["3d", "été", "a b!", "-"])
def test_a_name_that_makes_no_class_is_refused(folder: Folder, name: str) -> None:
    done = folder.livepeer("init", "here", f"--name={name}")
    assert done.returncode == 2
    assert "letters, digits and dashes" in done.stderr
    assert not list(folder.path.iterdir())


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("text-to-image", "TextToImage"),
        ("my_model.v2", "MyModelV2"),
        ("GPT", "GPT"),
        ("pipeline", "MyPipeline"),
        ("reply", "MyReply"),
        ("none", "MyNone"),
    ],
)
def test_the_class_is_named_after_the_folder(name: str, cls: str) -> None:
    assert class_name(name) == cls


def test_a_folder_that_cannot_be_made_is_told(folder: Folder) -> None:
    (folder.path / "file").write_text("")
    done = folder.livepeer("init", "file/inside")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="session")
def actionlint() -> list[str]:
    """As `scripts/lint` finds it."""
    if shutil.which("actionlint"):
        return ["actionlint"]
    if shutil.which("go"):
        module = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.7"
        return ["go", "run", module, "-shellcheck="]
    pytest.skip("neither actionlint nor go is here")


def test_a_workflow_is_written_beside_a_new_pipeline_or_into_one(folder: Folder) -> None:
    done = folder.livepeer("init", "sentiment", "--ci", "github")
    assert done.returncode == 0, done.stderr
    made = folder.path / "sentiment" / ".github" / "workflows" / "livepeer.yml"
    assert "/sentiment-livepeer-runner" in made.read_text()
    assert (folder.path / "sentiment" / "pipeline.py").is_file()
    written = made.read_text()
    shutil.rmtree(folder.path / "sentiment" / ".github")
    before = (folder.path / "sentiment" / "pipeline.py").read_text()
    done = folder.livepeer("init", "sentiment", "--ci", "github", "--template", "stream")
    assert done.returncode == 0, done.stderr
    assert made.read_text() == written
    assert (folder.path / "sentiment" / "pipeline.py").read_text() == before
    again = folder.livepeer("init", "sentiment", "--ci", "github")
    assert again.returncode == 1 and "would be overwritten" in again.stderr


@pytest.mark.slow  # go builds the checker where there is none
def test_the_workflow_is_one_and_trusts_only_what_it_pins(
    tmp_path: Path, actionlint: list[str]
) -> None:
    ((name, text),) = workflow("github", {"id": "sentiment"}).items()
    path = tmp_path / Path(name).name
    path.write_text(text)
    done = subprocess.run([*actionlint, str(path)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used and all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one) for one, _ in used)
    assert all(re.fullmatch(r" # v[\d.]+", comment) for _, comment in used)
    # Values of others come by the environment, never into a script's text.
    assert not re.search(r"run: .*\$\{\{", text)
