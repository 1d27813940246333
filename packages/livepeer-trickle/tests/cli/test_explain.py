"""`livepeer explain`, and the hint that names it below an error."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import typer

from livepeer.trickle import ChannelNotFound
from livepeer.trickle.cli import console


def run(commands: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*commands, "explain", *arguments], capture_output=True, text=True, timeout=60
    )


def test_a_code_is_explained_as_it_stands_in_an_error(commands: tuple[str, ...]) -> None:
    done = run(commands, "[channel_not_found]")
    assert done.returncode == 0
    assert done.stdout.startswith("channel_not_found: The server has no such channel\n\nCause: ")
    assert "\nFix: " in done.stdout and "livepeer trickle serve" in done.stdout
    assert json.loads(run(commands, "channel_not_found", "--json").stdout)["home"] == (
        "livepeer-trickle"
    )


def test_what_is_no_code_names_those_that_are_like_it(commands: tuple[str, ...]) -> None:
    done = run(commands, "chanel_not_fond")
    assert done.returncode == 2
    assert "channel_not_found" in done.stderr and not done.stdout


def test_all_codes_are_listed(commands: tuple[str, ...]) -> None:
    lines = run(commands).stdout.splitlines()
    assert len(lines) > 90 and lines == sorted(lines)


def test_an_error_of_ours_ends_with_the_command_that_explains_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(typer.Exit):
        console.fail(ChannelNotFound("no such channel", url="http://a/b"), hint="Start it.")
    assert capsys.readouterr().err.splitlines() == [
        "Error: no such channel (url http://a/b)",
        "Start it.",
        "livepeer explain channel_not_found",
    ]
    with pytest.raises(typer.Exit):
        console.fail(OSError(2, "nothing there"))
    assert "explain" not in capsys.readouterr().err
