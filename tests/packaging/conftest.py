"""The wheels, built once, and clean environments to install them into."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("livepeer-trickle", "livepeer-runner", "livepeer-client")


def run(*command: str | Path, cwd: Path, timeout: float = 600) -> str:
    """Run a command with none of the workspace's environment; its output, or a failure with it."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME") and "COVERAGE" not in name
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    if done.returncode:
        pytest.fail(f"{command}: exit {done.returncode}\n{done.stdout}")
    return done.stdout


class Environment:
    """A virtual environment that holds nothing of the workspace but what is installed into it."""

    def __init__(self, folder: Path, wheels: dict[str, Path]) -> None:
        self.folder = folder
        self.wheels = wheels
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        run("uv", "venv", "--quiet", folder / "env", cwd=self.work)
        self.python = folder / "env" / "bin" / "python"

    def install(self, *names: str) -> None:
        """Install from the built wheels; what they need of each other comes from them as well."""
        ours = {"livepeer-trickle", *names}
        run(
            *("uv", "pip", "install", "--quiet", "--python", self.python),
            *(f"{name} @ {self.wheels[name.partition('[')[0]].as_uri()}" for name in sorted(ours)),
            cwd=self.work,
        )

    def script(self, name: str, *arguments: str) -> str:
        return run(self.folder / "env" / "bin" / name, *arguments, cwd=self.work)

    def check(self, code: str) -> str:
        return run(self.python, "-W", "error", "-c", code, cwd=self.work)

    def installed(self) -> set[str]:
        listing = run("uv", "pip", "freeze", "--python", self.python, cwd=self.work)
        return {line.partition("==")[0].partition(" @ ")[0] for line in listing.splitlines()}


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each distribution's wheel, built from its sdist, as a release does."""
    copy = tmp_path_factory.mktemp("source")
    out = tmp_path_factory.mktemp("dist")
    built = {}
    ignore = shutil.ignore_patterns("__pycache__", "dist", ".*_cache")
    shutil.copytree(ROOT / "examples", copy / "examples", ignore=ignore)  # the runner's bring them
    for name in NAMES:
        folder = copy / "packages" / name
        shutil.copytree(ROOT / "packages" / name, folder, ignore=ignore)
        run("uv", "build", "--quiet", "--no-sources", "--out-dir", out, cwd=folder)
        (built[name],) = out.glob(f"{name.replace('-', '_')}-*.whl")
    shutil.rmtree(copy)
    return built


@pytest.fixture(scope="session")
def environment(
    tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path]
) -> Callable[[str], Environment]:
    """A clean environment of the given name, made at its first use and shared by the session."""
    made: dict[str, Environment] = {}

    def get(name: str) -> Environment:
        if name not in made:
            made[name] = Environment(tmp_path_factory.mktemp(name), wheels)
            made[name].install(*(NAMES if name == "all" else [name]))
        return made[name]

    return get
