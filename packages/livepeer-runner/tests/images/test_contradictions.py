"""What contradicts itself is told before the build, with the line in which its author wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest

from livepeer.runner.packaging import requirements
from livepeer.runner.packaging.contradictions import explained, refused, warnings
from livepeer.runner.packaging.project import Project
from livepeer.runner.packaging.requirements import Locked

CPU = "from livepeer.runner import Pipeline\n\n\nclass X(Pipeline):\n    pass\n"
GPU = CPU.replace("pass", "gpu = True")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (made := tmp_path / "mine").mkdir()
    (made / "pipeline.py").write_text(CPU)
    return made


def locked(**wanted_by: str) -> Locked:
    """Packages, and who needs them."""
    names = {name.replace("_", "-"): by.split() for name, by in wanted_by.items()}
    needed = {name: tuple(by) for name, by in names.items()}
    return Locked("", "", dict.fromkeys(names, "1.0"), needed, None)


BOTH = locked(onnxruntime="insight", onnxruntime_gpu="", insight="", nvidia_cudnn_cu13="")


def test_without_a_livepeer_yaml_the_line_of_the_requirements_file_is_told(folder: Path) -> None:
    (folder / "requirements.txt").write_text("# faces\ninsight>=1\nonnxruntime_gpu[cuda]==1.0\n")
    (told,) = refused(Project.find(str(folder)), BOTH)
    assert "onnxruntime (which insight brings, requirements.txt:2)" in told
    assert "onnxruntime-gpu (requirements.txt:3)" in told and "keep one" in told


def test_of_a_pyproject_the_line_of_the_dependency(folder: Path) -> None:
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "mine"\nversion = "1"\ndependencies = [\n  "insight>=1",\n'
        '  "onnxruntime-gpu",\n]\n'
    )
    project = Project.find(str(folder))
    assert project.manifest.python.requirements == "pyproject.toml"
    (told,) = refused(project, BOTH)
    assert "pyproject.toml:5" in told and "pyproject.toml:6" in told


@pytest.mark.parametrize("text", ["[tool.ruff]\n", "project = 3\n", "no toml", "[project]\n"])
def test_a_pyproject_without_dependencies_names_none(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text)
    assert Project.find(str(folder)).manifest.python.requirements is None


def test_of_livepeer_yaml_line_and_column(folder: Path) -> None:
    (folder / "livepeer.yaml").write_text(
        "pipeline: pipeline:X\npython:\n  packages:\n    - insight\n    - onnxruntime-gpu\n"
    )
    (told,) = refused(Project.find(str(folder)), BOTH)
    assert "livepeer.yaml:4:7" in told and "livepeer.yaml:5:7" in told


def test_onnxruntime_gpu_without_its_libraries_is_refused(folder: Path) -> None:
    (folder / "requirements.txt").write_text("onnxruntime-gpu\n")
    (told,) = refused(Project.find(str(folder)), locked(onnxruntime_gpu=""))
    assert "(requirements.txt:1)" in told and "onnxruntime-gpu[cuda,cudnn]" in told


TORCH = locked(torch="faces", nvidia_cublas="torch", faces="")


@pytest.mark.parametrize(
    ("source", "packages", "yaml", "told"),
    [
        pytest.param(CPU, TORCH, "", "2 GB of CUDA", id="cuda for a CPU"),
        pytest.param(GPU, TORCH, "", None, id="cuda for a GPU"),
        pytest.param(GPU, locked(faces=""), "", "neither its packages nor the base", id="no cuda"),
        pytest.param(GPU, locked(faces=""), "cuda: '12.8'", None, id="cuda of the base"),
        pytest.param(GPU, locked(faces=""), "base: me/cuda", None, id="a base of one's own"),
        pytest.param(CPU, locked(faces=""), "", None, id="neither"),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(
    folder: Path, source: str, packages: Locked, yaml: str, told: str | None
) -> None:
    (folder / "pipeline.py").write_text(source)
    (folder / "requirements.txt").write_text("faces\n")
    if yaml:
        more = "python: {requirements: requirements.txt}"
        (folder / "livepeer.yaml").write_text(f"pipeline: pipeline:X\n{more}\n{yaml}\n")
    found = warnings(Project.find(str(folder)), packages)
    assert len(found) == (told is not None)
    assert told is None or told in found[0]
    if packages is TORCH and found:
        assert found[0].startswith("torch (which faces brings, requirements.txt:1) ")


def test_a_requirements_file_that_livepeer_yaml_forgets_is_told(folder: Path) -> None:
    (folder / "requirements.txt").write_text("numpy\n")
    (folder / "livepeer.yaml").write_text("pipeline: pipeline:X\n")
    (told,) = warnings(Project.find(str(folder)), locked())
    assert "requirements.txt is not installed" in told


@pytest.mark.parametrize(("system", "count"), [("", 1), ("system: {packages: [g++]}\n", 0)])
def test_what_has_no_wheel_needs_a_compiler(folder: Path, system: str, count: int) -> None:
    (folder / "livepeer.yaml").write_text(
        f"pipeline: pipeline:X\npython: {{packages: [llvmlite==0.38]}}\n{system}"
    )
    packages = Locked("", "", {"llvmlite": "0.38"}, {"llvmlite": ()}, "llvmlite")
    found = warnings(Project.find(str(folder)), packages)
    assert len(found) == count
    assert all("livepeer.yaml:2:21" in one and "build-essential" in one for one in found)


def test_a_python_that_a_wheel_lacks_is_told_with_those_that_there_are(folder: Path) -> None:
    """uv's own words, as it says them."""
    (folder / "requirements.txt").write_text("numpy\ntorch==2.1.0\n")
    words = (
        "error: No solution found when resolving dependencies\n"
        "  cause: Because torch==2.1.0 has no wheels with a matching Python ABI tag (e.g., `cp313`)"
        " and you require torch==2.1.0, we can conclude that your requirements are unsatisfiable.\n"
        "\nhint: You require CPython 3.13 (`cp313`), but we only found wheels for `torch` (v2.1.0) "
        "with the following Python ABI tags: `cp38`, `cp39`, `cp310`, `cp311`"
    )
    told = explained(Project.find(str(folder)), words)
    assert told.startswith(
        "requirements.txt:2: torch has no wheel for Python 3.12 (there are some for 3.8, 3.9, "
        "3.10, 3.11): write one of these as python.version, or another version of torch\n"
    )
    assert told.endswith(words)


def test_what_cannot_be_resolved_is_told_with_the_lines_that_it_is_about(folder: Path) -> None:
    (folder / "requirements.txt").write_text("numpy<1.26\nother\nScikit_Image\n")
    words = "Because scikit-image needs numpy>=1.26 and you require numpy<1.26, no."
    told = explained(Project.find(str(folder)), words)
    assert told == f"requirements.txt:1: numpy\nrequirements.txt:3: scikit-image\n{words}"


def test_who_needs_a_package_is_read_from_uvs_comments_which_do_not_go_into_the_image(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    resolved = (
        "numpy==2.0.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via\n"
        "    #   -r requirements.txt\n    #   scipy\n    #   tiff-file\n"
        "scipy==1.0 \\\n    --hash=sha256:cc\n    # via -r -\n"
        "tiff-file==3 \\\n    --hash=sha256:dd\n    # via scipy\n"
    )
    (tmp_path / "resolved").write_text(resolved)
    uv = tmp_path / "uv"
    lacking = "Because tiff-file==3 has no usable wheels and you require it, no."
    uv.write_text(
        f"#!/bin/sh\ncat >/dev/null\n"
        f"case \"$*\" in *--no-build*) echo '{lacking}' >&2; exit 1 ;;\n"
        f"*) cat {tmp_path}/resolved ;; esac\n"
    )
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for _ in range(2):  # the second time from what was kept
        found = requirements.lock(Project.find(str(folder)), [], platform="linux/amd64")
        assert "#" not in found.others and "numpy==2.0.0 \\\n    --hash=sha256:aa" in found.others
        assert found.wanted_by == {
            "numpy": ("scipy", "tiff-file"),
            "scipy": (),
            "tiff-file": ("scipy",),
        }
        assert found.from_source == "tiff-file"
