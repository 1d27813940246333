"""The `livepeer` command's host, as a process of its own with distributions made for the test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

RUN = [sys.executable, "-c", "from livepeer.trickle.cli import main; main()"]


class Install:
    """Installs small distributions with `livepeer.commands` entry points into one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, entry_point: str, **modules: str) -> None:
        info = self.folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[livepeer.commands]\n{name} = {entry_point}\n")
        for module, source in modules.items():
            (self.folder / f"{module}.py").write_text(dedent(source))

    def livepeer(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(self.folder), "COLUMNS": "200"}
        return subprocess.run(
            [*RUN, *arguments], env=environment, capture_output=True, text=True, timeout=200
        )


@pytest.fixture
def install(tmp_path: Path) -> Install:
    return Install(tmp_path)


COMMANDS = """
    from livepeer.trickle.cli import Command
    commands = (Command("greet", "Say hello to NAME.", "greeter_code:greet", "Call"),)
"""
CODE = """
    def greet(name: str, loud: bool = False) -> None:
        '''Say hello, in full.'''
        if name == "ctrl-c":
            raise KeyboardInterrupt
        print(f"hello {name}".upper() if loud else f"hello {name}")
"""


def test_a_command_of_another_distribution_is_listed_and_runs(install: Install) -> None:
    install.add(
        "greeter", "greeter_commands:commands", greeter_commands=COMMANDS, greeter_code=CODE
    )
    assert "Say hello to NAME." in install.livepeer("--help").stdout
    assert install.livepeer("greet", "you", "--loud").stdout == "HELLO YOU\n"
    assert "Say hello, in full." in install.livepeer("greet", "--help").stdout


def test_listing_the_commands_imports_none_of_them(install: Install) -> None:
    install.add(
        "greeter",
        "greeter_commands:commands",
        greeter_commands=COMMANDS,
        greeter_code="raise SystemExit('imported by --help')",
    )
    result = install.livepeer("--help")
    assert result.returncode == 0, result.stderr
    assert "Say hello to NAME." in result.stdout


def test_a_broken_distribution_hides_no_other(install: Install) -> None:
    install.add("broken", "no_such_module:commands")
    install.add(
        "greeter", "greeter_commands:commands", greeter_commands=COMMANDS, greeter_code=CODE
    )
    assert install.livepeer("greet", "you").stdout == "hello you\n"


def test_a_command_whose_dependency_is_missing_names_it(install: Install) -> None:
    install.add(
        "greeter",
        "greeter_commands:commands",
        greeter_commands=COMMANDS,
        greeter_code="import surely_not_installed",
    )
    result = install.livepeer("greet", "you")
    assert result.returncode == 2
    assert "surely_not_installed" in result.stderr


def test_an_interrupt_before_the_command_has_begun_exits_130_without_a_traceback() -> None:
    program = """
import sys

class Interrupted:
    def find_spec(self, name, *rest):
        if name == "livepeer.trickle.cli.host":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
import livepeer.trickle.cli
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_an_interrupted_command_exits_130(install: Install) -> None:
    install.add(
        "greeter", "greeter_commands:commands", greeter_commands=COMMANDS, greeter_code=CODE
    )
    assert install.livepeer("greet", "ctrl-c").returncode == 130


def test_an_unknown_command_is_wrong_usage(install: Install) -> None:
    result = install.livepeer("no-such-command")
    assert result.returncode == 2
    assert "no-such-command" in result.stderr


def test_version_lists_every_livepeer_distribution(install: Install) -> None:
    result = install.livepeer("--version")
    assert result.returncode == 0
    for name in ("livepeer-trickle", "livepeer-runner", "livepeer-client"):
        assert name in result.stdout


def test_help_pulls_in_no_library_at_all(install: Install) -> None:
    script = (
        "import sys\n"
        "from livepeer.trickle.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'aiohttp', 'asyncio', 'typer', 'rich', 'av', 'numpy', 'fastapi', 'pydantic'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=200
    )
    assert result.returncode == 0, result.stderr


def test_without_a_command_it_prints_its_help_and_is_wrong_usage(install: Install) -> None:
    result = install.livepeer()
    assert (result.returncode, result.stdout) == (2, install.livepeer("--help").stdout)


def test_a_mistyped_command_gets_the_one_that_was_meant(install: Install) -> None:
    install.add("greeter", "greeter_commands:commands", greeter_commands=COMMANDS)
    result = install.livepeer("greeet", "you")
    assert result.returncode == 2
    assert "did you mean greet?" in result.stderr


def test_an_unknown_command_names_what_cannot_be_loaded(install: Install) -> None:
    install.add("broken", "no_such_module:commands")
    result = install.livepeer("zzz")
    assert result.returncode == 2
    assert "those of broken cannot be loaded" in result.stderr
    assert "no_such_module" in result.stderr


def test_the_help_of_trickle_imports_no_transport() -> None:
    program = (
        "import sys\nfrom livepeer.trickle.cli import main\n"
        "try: main(['trickle', '--help'])\n"
        "except SystemExit: print('aiohttp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"
