"""`livepeer skills install`: one file, where each program looks for it, and nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from livepeer.runner.cli.skills import AT_HOME
from livepeer.runner.cli.templates import SKILL, agents

if TYPE_CHECKING:
    from conftest import Folder

TEXT = agents({})[SKILL]
NAME = "livepeer-pipeline/SKILL.md"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "host, at_home, in_project",
    [
        ("claude", ".claude/skills", ".claude/skills"),
        ("cursor", ".cursor/skills", ".agents/skills"),
        ("codex", ".agents/skills", ".agents/skills"),
        ("vscode", ".copilot/skills", ".agents/skills"),
    ],
)
def test_each_program_finds_it(folder: Folder, host: str, at_home: str, in_project: str) -> None:
    assert host in AT_HOME
    home = folder.path / "home"
    done = folder.livepeer("skills", "install", host, HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert files(folder.path) == {f"home/{at_home}/{NAME}"}
    assert (home / at_home / NAME).read_text() == TEXT
    done = folder.livepeer("skills", "install", host, "--here", HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert (folder.path / in_project / NAME).read_text() == TEXT


def test_one_that_differs_is_left_as_it_is_without_force(folder: Folder) -> None:
    path = folder.path / ".claude" / "skills" / NAME

    def install(*options: str) -> tuple[int, str]:
        done = folder.livepeer("skills", "install", "claude", *options, HOME=str(folder.path))
        return done.returncode, done.stderr

    code, said = install("--dry-run")
    assert (code, files(folder.path)) == (0, set()) and "would be written" in said
    assert install()[0] == 0
    assert "already" in install()[1]
    path.write_text("mine")
    for options in ((), ("--dry-run",)):
        code, said = install(*options)
        assert code == 1 and "--force" in said and "livepeer explain cannot_install" in said
    assert "would be replaced" in install("--dry-run", "--force")[1]
    assert path.read_text() == "mine"
    assert "replaced" in install("--force")[1]
    assert path.read_text() == TEXT


def test_a_place_that_cannot_be_written_is_one_error(folder: Folder) -> None:
    (folder.path / ".claude").write_text("a file")
    done = folder.livepeer("skills", "install", "claude", "--here")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and "Traceback" not in done.stderr
    assert "livepeer explain cannot_install" in done.stderr
