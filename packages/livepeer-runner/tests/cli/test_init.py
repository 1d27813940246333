"""`livepeer init`: what it writes runs, and nothing is ever overwritten."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import yaml

from livepeer.runner.check import check_source
from livepeer.runner.cli import examples
from livepeer.runner.cli.init import class_name
from livepeer.runner.cli.templates import KINDS, SKILL, render, workflow
from livepeer.runner.packaging.load import locate
from livepeer.runner.packaging.manifest import Manifest
from livepeer.runner.serving.kinds import make_service
from livepeer.runner.settings import Settings
from livepeer.trickle.cli.host import discover

if TYPE_CHECKING:
    from conftest import Folder

FILES = {
    ".gitignore",
    "AGENTS.md",
    "CLAUDE.md",
    "README.md",
    "livepeer.yaml",
    "pipeline.py",
    "pytest.ini",
    "requirements.txt",
    "test_pipeline.py",
}
LIGHT = ("hello_world", "live_tint")
"""Examples that need nothing beside the workspace; one for each kind."""


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, commands: tuple[str, ...]
) -> Callable[[str], Path]:
    """A folder for each template, and for the examples that can be run here, with what pytest said
    in it."""
    place = tmp_path_factory.mktemp("made")
    asked = {name: ("--template", name) for name in KINDS}
    asked |= {name: ("--from", name) for name in LIGHT}
    for name, options in asked.items():
        folder = place / name
        folder.mkdir()
        done = subprocess.run(
            [*commands, "init", ".", *options, *(("--name", "my-model") if name in KINDS else ())],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    clean["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # only what `livepeer-runner[dev]` brings
    program = str(Path(__file__).with_name("pytests.py"))
    subprocess.run(
        [sys.executable, "-P", program, *(str(place / name) for name in asked)],
        cwd=place,
        env=clean,
        check=True,
        timeout=280,
    )
    return lambda name: place / name


@pytest.mark.slow
@pytest.mark.parametrize("template", KINDS)
def test_a_new_pipeline_passes_its_own_tests_but_the_one_that_its_author_has_to_write(
    made: Callable[[str], Path], template: str
) -> None:
    folder = made(template)
    written = {path.name for path in folder.iterdir()} - {"pytest.txt"}
    assert {name for name in written if not name.endswith("cache__")} - {".pytest_cache"} == FILES
    assert Manifest.read(folder / "livepeer.yaml").pipeline == "pipeline:MyModel"
    said = (folder / "pytest.txt").read_text()
    assert re.search(r"\d passed, 1 xfailed", said), said
    assert "test_what_it_is_for" in said and "yours to write" in said
    assert said.endswith("exit 0\n")
    assert check_source(locate(str(folder))).ok


@pytest.mark.slow
@pytest.mark.parametrize("example", LIGHT)
def test_a_copied_example_passes_its_own_tests_in_a_folder_of_its_own(
    made: Callable[[str], Path], example: str
) -> None:
    folder = made(example)
    said = (folder / "pytest.txt").read_text()
    assert re.search(r"\d passed", said) and said.endswith("exit 0\n"), said
    assert "examples/" not in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", examples.names())
def test_every_example_can_be_copied_with_all_that_it_loads(tmp_path: Path, name: str) -> None:
    for file, content in examples.copied(name).items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
    assert check_source(locate(str(tmp_path))).ok
    assert "../" not in (tmp_path / "README.md").read_text()
    for test in tmp_path.glob("test_*.py"):
        for media in re.findall(r'"media/([\w.]+)"', test.read_text()):
            assert (tmp_path / "media" / media).is_file()
        assert "parents[1]" not in test.read_text()


def test_the_examples_are_small_enough_to_travel_in_every_wheel() -> None:
    copies = [examples.copied(name) for name in examples.names()]
    assert len(copies) == 13
    assert sum(len(content) for files in copies for content in files.values()) < 1_000_000


def test_an_example_that_there_is_not_names_those_that_there_are(folder: Folder) -> None:
    done = folder.livepeer("init", "x", "--from", "nothing")
    assert done.returncode == 2
    assert "hello_world" in done.stderr and not list(folder.path.iterdir())
    listed = json.loads(folder.livepeer("init", "--list").stdout)
    assert set(listed["templates"]) == set(KINDS)
    assert listed["examples"]["hello_world"] == "Greet somebody by name."


def test_agents_are_told_what_they_need_within_their_limits(folder: Folder) -> None:
    done = folder.livepeer("init", "one", "--agents")
    assert done.returncode == 0, done.stderr
    made = folder.path / "one"
    told = (made / "AGENTS.md").read_text()
    assert len(told.splitlines()) < 120
    assert (made / "CLAUDE.md").read_text() == "@AGENTS.md\n"
    skill = made / SKILL
    front, body = skill.read_text().removeprefix("---\n").split("\n---\n", 1)
    fields = yaml.safe_load(front)
    # The limits of the format, as agentskills.io has them.
    assert set(fields) <= {"name", "description", "license", "compatibility", "metadata"}
    name = fields["name"]
    assert name == skill.parent.name and len(name) <= 64
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert 1 <= len(fields["description"]) <= 1024
    assert len(fields["compatibility"]) <= 500
    assert len(body.splitlines()) < 500 and len(body) / 4 < 5000
    commands = set(discover()[0])
    for text in (told, body):
        assert set(re.findall(r"`livepeer ([a-z]+)", text)) <= commands


def test_agents_can_be_told_in_a_folder_that_is_a_pipeline_already(folder: Folder) -> None:
    folder.write(pipeline="mine = 1\n")
    done = folder.livepeer("init", ".", "--name", "mine", "--agents")
    assert done.returncode == 0, done.stderr
    assert (folder.path / "pipeline.py").read_text() == "mine = 1\n"
    assert (folder.path / SKILL).is_file()
    there = {path.name for path in folder.path.iterdir()}
    assert there == {".agents", "AGENTS.md", "CLAUDE.md", "pipeline.py"}


@pytest.mark.parametrize("template", KINDS)
def test_what_is_written_is_clean(tmp_path: Path, template: str) -> None:
    values = {"Class": "MyModel", "id": "my-model", "version": "0.1.0"}
    values |= {"about": "", "input": "", "call": ""}
    for name, text in render(template, values).items():
        assert "$" not in text.replace("$schema=", ""), name
        (tmp_path / name).write_text(text)
    for check in (["check", "--select", "E,F,W,I,UP,B,C4,RUF,BLE"], ["format", "--check"]):
        # Code in prose is set for its readers: aligned comments, short forms.
        options = ["--isolated", "--line-length", "100", "--exclude", "*.md"]
        ruff = [sys.executable, "-m", "ruff", *check, *options, "."]
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
    assert steps == [
        "cd my-model",
        'livepeer predict -i text="I love it"',
        "python -m pytest -q   # one test is yours to write",
        "livepeer serve",
        "livepeer dev",
    ]
    seen = folder.livepeer("init", "my-eyes", "--template", "image").stderr
    assert "-o out.png   # in.png is one of yours\n" in seen
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


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("uv")), reason="needs bash and uv")
def test_the_workflow_publishes_only_a_tag_that_is_the_version_of_the_class(
    folder: Folder,
) -> None:
    assert folder.livepeer("init", ".", "--name", "sentiment", "--ci", "github").returncode == 0
    made = yaml.safe_load((folder.path / ".github/workflows/livepeer.yml").read_text())
    (step,) = [each for each in made["jobs"]["test"]["steps"] if "version" in each.get("name", "")]
    assert made["jobs"]["publish"]["needs"] == "test" and "tags/v" in step["if"]

    def tagged(name: str) -> subprocess.CompletedProcess[str]:
        # As the runner of workflows starts a script; the environment is this one.
        environ = {**os.environ, "VIRTUAL_ENV": sys.prefix, "GITHUB_REF_NAME": name}
        return subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=folder.path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert tagged("v0.1.0").returncode == 0
    wrong = tagged("v0.2.0")
    assert wrong.returncode == 1
    assert "the tag is v0.2.0, and the version of the class 0.1.0" in wrong.stdout
    (folder.path / "pipeline.py").write_text("nothing = 1\n")
    assert tagged("v0.1.0").returncode != 0


def test_every_shape_that_agents_are_shown_is_one_that_can_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"Class": "A", "id": "a", "version": "0", "about": "", "input": "", "call": ""}
    told = render("batch", values)["AGENTS.md"]
    shapes = re.findall(r"```python\n(.*?)```", told, re.DOTALL)[0]
    models = "from pydantic import BaseModel\n"
    models += "".join(
        f"class {name}(BaseModel):\n    text: str = ''\n" for name in ("Params", "Query")
    )
    (tmp_path / "pipeline.py").write_text(models + shapes)
    assert check_source(locate(str(tmp_path))).found == ()
    module = ModuleType("shapes")
    monkeypatch.setitem(sys.modules, "shapes", module)
    exec(models + shapes, vars(module))
    kinds = set()
    for value in vars(module).values():
        if isinstance(value, type) and value.__module__ == "shapes" and hasattr(value, "capacity"):
            kind = make_service(value, Settings.from_env({})).work.kind
            kinds.add((value.__name__, kind))
    assert kinds == {
        *((name, "batch") for name in ("Answer", "Stream", "Picture", "Batched")),
        *((name, "live") for name in ("Live", "Source")),
    }
