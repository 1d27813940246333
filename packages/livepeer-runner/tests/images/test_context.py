"""What goes into an image: the files that are meant, no secret, and weights that outlive code."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from livepeer.runner.packaging import dockerfile
from livepeer.runner.packaging.build import _snapshot, base_image, image_name, make_readable
from livepeer.runner.packaging.ignore import Ignored
from livepeer.runner.packaging.project import Project, ProjectError

PIPELINE = """
from livepeer.runner import Pipeline
import neighbour

REPO = "me/model"


def download(name):
    return REPO, name


class Mine(Pipeline):
    version = "1.0.0"
    gpu = True

    @classmethod
    def prepare_models(cls):
        download("weights.bin")

    def predict(self, text: str) -> str:
        return neighbour.shout(text)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "My Pipeline"
    made.mkdir()
    write(made, "pipeline.py", PIPELINE)
    write(made, "neighbour.py", "import other\ndef shout(text): return other.up(text)\n")
    write(made, "other.py", "def up(text): return text.upper()\n")
    write(made, "unrelated.py", "")
    write(made, "livepeer.yaml", "pipeline: pipeline:Mine\nprepare: true\ninclude: [assets/]\n")
    write(made, "assets/a.txt", "a")
    write(made, "assets/.env", "SECRET=1")
    return made


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))


def names(project: Project) -> list[str]:
    return [file.as_posix() for file in project.files]


def test_the_module_its_neighbours_and_what_is_included_go_in_and_nothing_else(
    folder: Path,
) -> None:
    project = Project.find(str(folder))
    assert names(project) == [
        "assets/a.txt",
        "livepeer.yaml",
        "neighbour.py",
        "other.py",
        "pipeline.py",
    ]
    assert project.target == "pipeline:Mine"
    assert project.constant("gpu") is True and project.constant("missing") is None


def test_a_folder_with_a_pipeline_alone_needs_no_file(tmp_path: Path) -> None:
    write(tmp_path, "pipeline.py", "from livepeer.runner import Pipeline\n")
    project = Project.find(str(tmp_path))
    assert names(project) == ["pipeline.py"] and project.target == "pipeline.py"


def test_requirements_go_in_with_the_file_that_names_them(tmp_path: Path) -> None:
    """Each command that runs in the image reads that file."""
    write(tmp_path, "pipeline.py", "from livepeer.runner import Pipeline\n")
    write(tmp_path, "livepeer.yaml", "pipeline: pipeline:X\npython: {requirements: deps/r.txt}\n")
    write(tmp_path, "deps/r.txt", "numpy\n")
    project = Project.find(str(tmp_path))
    assert names(project) == ["deps/r.txt", "livepeer.yaml", "pipeline.py"]
    write(tmp_path, "inner/pipeline.py", "from livepeer.runner import Pipeline\n")
    out = "pipeline: pipeline:X\npython: {requirements: ../deps/r.txt}\n"
    write(tmp_path, "inner/livepeer.yaml", out)
    with pytest.raises(ProjectError, match="leads out of the folder"):
        Project.find(str(tmp_path / "inner"))


def test_a_package_goes_in_as_a_whole(tmp_path: Path) -> None:
    for name in ("app/__init__.py", "app/main.py", "app/deep/__init__.py", "app/deep/x.py"):
        write(tmp_path, name, "")
    write(tmp_path, "livepeer.yaml", "pipeline: app.main:Mine\n")
    assert names(Project.find(str(tmp_path))) == [
        "app/__init__.py",
        "app/deep/__init__.py",
        "app/deep/x.py",
        "app/main.py",
        "livepeer.yaml",
    ]


@pytest.mark.parametrize("named", ["../other", "/etc/passwd", "missing.txt"])
def test_what_is_outside_or_not_there_is_refused_by_its_name(folder: Path, named: str) -> None:
    write(folder, "livepeer.yaml", f"pipeline: pipeline:Mine\ninclude: ['{named}']\n")
    with pytest.raises(ProjectError, match=named):
        Project.find(str(folder))


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    (folder / "assets" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(ProjectError, match="leads out of the folder"):
        Project.find(str(folder))


@pytest.mark.parametrize(
    "secret",
    ["hf_" + "a" * 34, "ghp_" + "a" * 36, "AKIA" + "A" * 16, "-----BEGIN RSA PRIVATE KEY-----"],
)
def test_a_secret_in_a_file_is_found_at_its_line(folder: Path, secret: str) -> None:
    write(folder, "other.py", f"def up(text): return text\n# {secret}\n")
    assert Project.find(str(folder)).secrets() == ["other.py:2"]


@pytest.mark.parametrize(
    ("patterns", "path", "out"),
    [
        ("", "a/.git/config", True),
        ("", "a/__pycache__/x.pyc", True),
        ("", "deep/.env", True),
        ("!**/.env", "deep/.env", False),
        ("*.bin", "x.bin", True),
        ("*.bin", "a/x.bin", False),
        ("**/*.bin", "a/b/x.bin", True),
        ("data", "data/x/y", True),
        ("data/", "data/x", True),
        ("/data", "data/x", True),
        ("data", "database", False),
        ("data\n!data/keep.txt", "data/keep.txt", False),
        ("data\n!data/keep.txt", "data/other.txt", True),
        ("!keep\nkeep", "keep", True),
        ("# data", "# data", False),
        ("x[0-9].txt", "x1.txt", True),
        ("x?.txt", "x/.txt", False),
    ],
)
def test_dockerignore_is_read_as_docker_reads_it(patterns: str, path: str, out: bool) -> None:
    assert Ignored(patterns.splitlines())(path) is out


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ("neighbour.shout(text)", "text", True),
        ("return REPO, name", "return name", False),
        ('"me/model"', '"me/other"', False),
        ('"weights.bin"', '"more.bin"', False),
        ('version = "1.0.0"', 'version = "2.0.0"', False),
        ("# nothing", "# comment", True),
    ],
)
def test_weights_are_fetched_anew_only_where_their_code_changed(
    folder: Path, old: str, new: str, kept: bool
) -> None:
    before = Project.find(str(folder)).prepare_key()
    text = (folder / "pipeline.py").read_text() + ("# nothing\n" if old == "# nothing" else "")
    (folder / "pipeline.py").write_text(text.replace(old, new))
    assert (Project.find(str(folder)).prepare_key() == before) is kept


def test_a_base_class_elsewhere_makes_every_file_count(folder: Path) -> None:
    write(folder, "pipeline.py", "from neighbour import Base\nclass Mine(Base): pass\n")
    before = Project.find(str(folder)).prepare_key()
    write(folder, "other.py", "changed = 1\n")
    assert Project.find(str(folder)).prepare_key() != before


def test_the_snapshot_keeps_the_old_code_until_the_weights_change(folder: Path) -> None:
    kept = _snapshot(Project.find(str(folder)))
    first = (kept / "pipeline.py").read_text()
    text = first.replace("neighbour.shout(text)", "text")
    (folder / "pipeline.py").write_text(text)
    assert (_snapshot(Project.find(str(folder))) / "pipeline.py").read_text() == first
    (folder / "pipeline.py").write_text(text.replace("weights.bin", "more.bin"))
    assert "more.bin" in (_snapshot(Project.find(str(folder))) / "pipeline.py").read_text()
    assert (folder / ".livepeer" / ".gitignore").read_text() == "*\n"


def test_no_folder_of_the_users_gets_another_mode(folder: Path) -> None:
    folder.parent.chmod(0o1777)
    folder.chmod(0o700)
    _snapshot(Project.find(str(folder)))
    assert folder.stat().st_mode & 0o7777 == 0o700
    assert folder.parent.stat().st_mode & 0o7777 == 0o1777


def test_what_is_staged_can_be_read_by_every_user_and_run_where_it_could_be(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir(mode=0o700)
    write(tmp_path, "deep/secret.py", "")
    write(tmp_path, "deep/run.sh", "")
    (tmp_path / "deep/secret.py").chmod(0o600)
    (tmp_path / "deep/run.sh").chmod(0o700)
    make_readable(tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"deep": 0o755, "secret.py": 0o644, "run.sh": 0o755}


def test_the_base_and_the_name_come_from_the_file_or_are_sane(folder: Path) -> None:
    project = Project.find(str(folder))
    assert base_image(project) == "python:3.12-slim"
    assert image_name(project) == "my-pipeline-livepeer-runner"
    assert image_name(project, "x:1") == "x:1"
    write(folder, "livepeer.yaml", "pipeline: pipeline:Mine\ncuda: '12.8.0'\nimage: ghcr.io/me/a\n")
    project = Project.find(str(folder))
    assert base_image(project).startswith("nvidia/cuda:12.8.0-")
    assert image_name(project) == "ghcr.io/me/a"


def test_the_file_holds_nothing_that_a_builder_may_not_know_and_layers_in_their_order() -> None:
    text = dockerfile.render(
        dockerfile.ImagePlan(
            "python:3.12-slim", "p:C", system=("flite",), wheels=True, prepare=True
        )
    )
    assert not [word for word in ("# syntax", "<<", "--link", "--mount", "--chmod") if word in text]
    order = ["FROM", "apt-get", "requirements.txt", "sdk.txt", "prepare/", "COPY app/", "\nUSER"]
    assert [text.index(word) for word in order] == sorted(text.index(word) for word in order)


def test_a_secret_is_mounted_and_stands_in_no_variable() -> None:
    text = dockerfile.render(dockerfile.ImagePlan("b", "p:C", prepare=True, secrets=("HF_TOKEN",)))
    assert "RUN --mount=type=secret,id=HF_TOKEN " in text
    assert "ENV HF_TOKEN" not in text and "ARG HF_TOKEN" not in text


@pytest.mark.parametrize(
    ("step", "cause"),
    [
        ("RUN apt-get update  && DEBIAN_FRONTEND=noninteractive", "livepeer.yaml: system.packages"),
        ("FROM python:3.12-slim", "livepeer.yaml: base"),
        ("COPY app/ /app/", "livepeer.yaml: pipeline, include"),
        (
            "RUN python -m pip install --quiet --no-cache-dir --no-compile --target /tmp/uv uv==1",
            "livepeer.yaml: python.requirements, python.packages",
        ),
        ("RUN python -m pip install --quiet --no-cache-dir --no-compile --no-deps --re", "the SDK"),
        ("RUN something else", None),
    ],
)
def test_a_step_is_traced_to_the_line_that_caused_it(step: str, cause: str | None) -> None:
    plan = dockerfile.ImagePlan(
        "python:3.12-slim", "p:C", system=("flite",), wheels=True, prepare=True
    )
    assert dockerfile.cause(dockerfile.render(plan), step) == cause


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("error: [Errno 2] No such file or directory: 'gcc'", "build-essential"),
        ("/bin/sh: 1: cmake: not found", "build-essential"),
        ("error: command '/usr/bin/x86_64-linux-gnu-gcc' failed", "build-essential"),
        ("CMake Error: CMAKE_CXX_COMPILER not set", "build-essential"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("this base has Python 3.11, python.version is 3.12", "python.version"),
        ('at STEP "RUN ... sys.exit("this base has Python %d.%d" % v)": exit status 1', None),
        ("E: Unable to locate package no-such", "no package of that name"),
        ("/bin/sh: apt-get: not found", "no Debian"),
        ("ValueError: the hub is closed", None),
    ],
)
def test_what_to_do_is_told_by_what_a_step_said(said: str, told: str | None) -> None:
    found = dockerfile.advice(f"building\n{said}\n")
    assert found is None if told is None else told in str(found)
