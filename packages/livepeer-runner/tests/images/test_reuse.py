"""What a build takes from an earlier one, and when it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from livepeer.runner.packaging import requirements
from livepeer.runner.packaging.project import Project
from livepeer.runner.packaging.reuse import MOST_FILES, key, reuse


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "livepeer" / "images"


def test_the_same_inputs_are_made_once_and_anew_where_that_is_asked_or_time_is_over(
    cache: Path,
) -> None:
    made: list[bytes] = []

    def make() -> bytes:
        made.append(b"made %d" % len(made))
        return made[-1]

    assert [reuse("lock", "k", make, seconds=60) for _ in range(3)] == [b"made 0"] * 3
    assert reuse("lock", "k", make, seconds=60, anew=True) == b"made 1"
    assert reuse("lock", "k", make, seconds=60) == b"made 1", "what was made anew is kept"
    os.utime(cache / "lock-k", (0, 0))
    assert reuse("lock", "k", make, seconds=60) == b"made 2"
    assert reuse("wheel", "k", make, seconds=60) == b"made 3"


def test_a_cache_that_cannot_be_used_costs_time_only_and_it_does_not_grow(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file in its place")
    assert reuse("lock", "k", lambda: b"made", seconds=60) == b"made"
    cache.unlink()
    for i in range(MOST_FILES + 5):
        reuse("lock", str(i), lambda: b"", seconds=60)
    assert len(list(cache.iterdir())) == MOST_FILES


def test_a_key_tells_its_parts_apart() -> None:
    assert len({key(parts) for parts in ([b"ab"], [b"a", b"b"], [b"b", b"a"], [b"ab", b""])}) == 4


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        ("numpy\n", 1),
        ("numpy\n-r more.txt\n", 2),
        ("-c limits.txt\nnumpy\n", 2),
        ("./local\n", 2),
        ("local @ file:///somewhere\n", 2),
    ],
)
def test_the_index_is_asked_again_where_requirements_name_files_that_may_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, content: str, asked: int
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pipeline.py").write_text("from livepeer.runner import Pipeline\n")
    (folder / "requirements.txt").write_text(content)
    (folder / "livepeer.yaml").write_text(
        "pipeline: pipeline:X\npython: {requirements: requirements.txt}\n"
    )
    uv = tmp_path / "uv"
    # It is asked twice: what the packages are, and whether each has a wheel.
    uv.write_text(
        f"#!/bin/sh\ncat >/dev/null\n"
        f'case "$*" in *--no-build*) ;; *) echo x >> {tmp_path}/asked; echo numpy==2.0.0 ;; esac\n'
    )
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    project = Project.find(str(folder))
    for _ in range(2):
        locked = requirements.lock(project, [], platform="linux/amd64")
        assert locked.versions == {"numpy": "2.0.0"}
    assert len((tmp_path / "asked").read_text().splitlines()) == asked
    requirements.lock(project, [], platform="linux/amd64", anew=True)
    assert len((tmp_path / "asked").read_text().splitlines()) == asked + 1
