"""What is in a wheel, and that it works alone, in an environment that never saw the source tree."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]

PARTS = {"livepeer-trickle": "trickle", "livepeer-runner": "runner", "livepeer-client": "client"}
EACH = pytest.mark.parametrize("name", list(PARTS))
Environments = Callable[[str], Any]


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (entry,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(entry).decode())


@EACH
def test_a_wheel_holds_its_own_package_and_nothing_else(wheels: dict[str, Path], name: str) -> None:
    with zipfile.ZipFile(wheels[name]) as archive:
        entries = archive.namelist()
    own = f"livepeer/{PARTS[name]}/"
    strangers = [e for e in entries if not e.startswith(own) and ".dist-info/" not in e]
    assert strangers == (["livepeer/__main__.py"] if name == "livepeer-trickle" else [])
    assert f"{own}py.typed" in entries
    assert "livepeer/__init__.py" not in entries
    assert any(e.endswith(".dist-info/licenses/LICENSE") for e in entries)


@EACH
def test_a_wheel_says_what_an_index_shows(wheels: dict[str, Path], name: str) -> None:
    data = metadata(wheels[name])
    assert data["Name"] == name
    assert data["License-Expression"] == "MIT"
    assert data["Requires-Python"] == ">=3.11"
    assert data["Summary"]
    links = dict(link.split(", ", 1) for link in data.get_all("Project-URL") or [])
    assert set(links) == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    description = data.get_payload()
    assert isinstance(description, str) and description.startswith(f"# {name}")


@EACH
def test_bounds_between_our_distributions_name_a_version(
    wheels: dict[str, Path], name: str
) -> None:
    ours = [r for r in metadata(wheels[name]).get_all("Requires-Dist") or [] if "livepeer" in r]
    assert all(">=" in requirement and "<" in requirement for requirement in ours), ours


@EACH
def test_each_distribution_installed_alone_offers_its_public_names(
    environment: Environments, name: str
) -> None:
    part = PARTS[name]
    environment(name).check(
        f"import livepeer.{part} as package\n"
        "assert 'site-packages' in package.__file__, package.__file__\n"
        "assert package.__all__\n"
        "for name in package.__all__: getattr(package, name)\n"
    )


def test_all_three_installed_together_share_the_namespace(environment: Environments) -> None:
    together = environment("all")
    together.check(
        "import livepeer, livepeer.trickle, livepeer.runner, livepeer.client\n"
        "assert getattr(livepeer, '__file__', None) is None\n"
    )
    assert "livepeer-client 0" in together.script("livepeer", "--version")


@EACH
def test_each_distribution_brings_a_script_of_its_own_name(
    environment: Environments, name: str
) -> None:
    assert "COMMAND" in environment("all").script(name, "--help")


def test_trickle_alone_pulls_in_neither_av_nor_numpy(environment: Environments) -> None:
    alone = environment("livepeer-trickle")
    assert not {"av", "numpy", "typer", "fastapi", "pydantic"} & alone.installed()


def test_importing_trickle_imports_neither_av_nor_numpy(environment: Environments) -> None:
    environment("all").check(
        "import sys, livepeer.trickle as trickle\n"
        "for name in trickle.__all__: getattr(trickle, name)\n"
        "assert not {'av', 'numpy'} & set(sys.modules)\n"
    )


def test_without_the_cli_extra_help_is_there_and_a_command_says_what_to_install(
    environment: Environments,
) -> None:
    alone = environment("livepeer-trickle")
    told = alone.check(
        "import contextlib, io, livepeer.trickle.cli as cli\n"
        "out = io.StringIO()\n"
        "for words, code in (['--help'], 0), (['trickle', 'serve'], 1):\n"
        "    try:\n"
        "        with contextlib.redirect_stderr(out): cli.main(words)\n"
        "    except SystemExit as stop: assert stop.code == code, (words, stop.code)\n"
        "print(out.getvalue())\n"
    )
    assert "Usage: livepeer" in told and "livepeer-trickle[cli]" in told


def test_a_command_of_a_distribution_that_is_missing_names_it(environment: Environments) -> None:
    told = environment("livepeer-client").check(
        "import subprocess, sys\n"
        "from pathlib import Path\n"
        "livepeer = Path(sys.executable).parent / 'livepeer'\n"
        "done = subprocess.run([livepeer, 'serve'], capture_output=True, text=True)\n"
        "assert done.returncode == 2, done\n"
        "print(' '.join(done.stderr.split()))\n"
    )
    assert "livepeer-runner" in told


def test_the_examples_and_the_explanations_travel_with_the_wheels(
    environment: Environments,
) -> None:
    alone = environment("livepeer-runner")
    listed = json.loads(alone.script("livepeer", "init", "--list"))["examples"]
    here = [file.parent.name for file in (ROOT / "examples").glob("[a-z]*/livepeer.yaml")]
    assert sorted(listed) == sorted(here)
    alone.script("livepeer", "init", "copied", "--from", "image_upscale")
    for file in ("upscale.onnx", "media/astronaut.jpg", "pipeline.py", "AGENTS.md"):
        assert (alone.work / "copied" / file).is_file()
    alone.script("livepeer", "skills", "install", "claude", "--here")
    assert (alone.work / ".claude" / "skills" / "livepeer-pipeline" / "SKILL.md").is_file()
    assert "503" in alone.script("livepeer", "explain", "over_capacity")
    # Those of a distribution that is not installed are not told.
    assert "insufficient_balance" not in alone.script("livepeer", "explain")
    assert "insufficient_balance" in environment("all").script("livepeer", "explain")
