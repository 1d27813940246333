"""Every example is tested where its packages are installed, and elsewhere said to be not run.

`scripts/test` runs those that need nothing beside the workspace, `scripts/test-examples` makes an
environment for all of them; there (`LIVEPEER_EXAMPLES_STRICT=1`) a missing package is a failure.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

STRICT = os.environ.get("LIVEPEER_EXAMPLES_STRICT") == "1"
SAME_MODULE = {"opencv-python": "opencv-python-headless"}


def missing(folder: Path) -> list[str]:
    """The lines of the folder's requirements that this environment does not meet."""
    lines: list[str] = []
    for name in ("requirements.txt", "requirements-test.txt"):
        if (file := folder / name).exists():
            lines += [line for line in file.read_text().splitlines() if line.split("#")[0].strip()]
    unmet = [line for line in lines if not is_met(Requirement(line.split("#")[0]))]
    return list(dict.fromkeys(unmet))


def is_met(wanted: Requirement) -> bool:
    for name in (wanted.name, SAME_MODULE.get(wanted.name)):
        try:
            if name and wanted.specifier.contains(metadata.version(name), prereleases=True):
                return True
        except metadata.PackageNotFoundError:
            continue
    return False


class NotRun(pytest.Module):
    """A test module whose example cannot be imported here."""

    def collect(self) -> Iterator[pytest.Item]:
        needed = ", ".join(missing(self.path.parent))
        reason = f"not run: examples/{self.path.parent.name} needs {needed}: scripts/test-examples"
        if STRICT:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason, allow_module_level=True)


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    if missing(module_path.parent):
        return NotRun.from_parent(parent, path=module_path)
    return None


class Example:
    """The example that a test stands beside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, name: str = "pipeline") -> ModuleType:
        """One of its modules, imported as `python NAME.py` would find it."""
        return importlib.import_module(name)

    def path(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture(scope="module")
def example(request: pytest.FixtureRequest) -> Iterator[Example]:
    """The folder is on `sys.path` while its tests run; what was imported from it goes with it."""
    folder = request.path.parent
    own = [file.stem for file in folder.glob("*.py")]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        for name in own:
            patch.delitem(sys.modules, name, raising=False)
        yield Example(folder)
        for name in own:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def pipeline(example: Example) -> ModuleType:
    """The example's `pipeline.py`."""
    return example.load()
