"""What is wrong with a pipeline's packages together, told before minutes are spent on a build.

Each is told with the line in which its author wrote it: in `livepeer.yaml`, a requirements file, or
`pyproject.toml`; also where another package brought what is wrong.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from livepeer.runner.packaging import manifest
from livepeer.runner.packaging.project import Project
from livepeer.runner.packaging.requirements import Locked

_NO_WHEEL = re.compile(r"we only found wheels for `([^`]+)`.*?ABI tags?: (.*)")
_TAG = re.compile(r"`cp3(\d+)`")
REQUIREMENTS = "requirements.txt"
_COMPILERS = ("build-essential", "g++", "gcc", "clang")


def refused(project: Project, locked: Locked) -> list[str]:
    """What cannot work."""
    found = []
    origin = _Origins(project, locked.wanted_by)
    if "onnxruntime" in locked.versions and "onnxruntime-gpu" in locked.versions:
        found.append(
            f"{origin('onnxruntime')} and {origin('onnxruntime-gpu')} are both installed, and the "
            f"one that comes last wins: keep one"
        )
    if "onnxruntime-gpu" in locked.versions and not locked.has_cuda:
        found.append(
            f"{origin('onnxruntime-gpu')} without its CUDA libraries runs on the CPU, silently: "
            f"write onnxruntime-gpu[cuda,cudnn]"
        )
    return found


def warnings(project: Project, locked: Locked) -> list[str]:
    """What is probably not meant."""
    found = []
    origin = _Origins(project, locked.wanted_by)
    is_gpu = project.constant("gpu") is True
    if locked.has_cuda and not is_gpu:
        # What the author wrote down, if it can be told: torch, and not one of its twenty libraries.
        brings = "torch" if "torch" in locked.versions else _first_cuda(locked)
        found.append(
            f"{origin(brings)} comes with 2 GB of CUDA, but the class does not say `gpu = True`: "
            f"say so, or take what runs on a CPU (torch: https://download.pytorch.org/whl/cpu)"
        )
    if is_gpu and not (locked.has_cuda or project.manifest.cuda or project.manifest.base):
        found.append(
            "the class says `gpu = True`, but neither its packages nor the base bring CUDA: name "
            "packages that do (torch, onnxruntime-gpu[cuda,cudnn]), or `cuda` in livepeer.yaml"
        )
    if locked.from_source and not any(
        name.startswith(_COMPILERS) for name in project.manifest.system.packages
    ):
        found.append(
            f"{origin(locked.from_source)} has no wheel for Python "
            f"{project.manifest.python.version}: it is built from its source in the image, which "
            f"needs a compiler (`system: {{packages: [build-essential]}}`); or write another "
            f"python.version, or another version of it"
        )
    if project.manifest.python.requirements is None and (project.folder / REQUIREMENTS).is_file():
        found.append(
            f"{REQUIREMENTS} is not installed: livepeer.yaml does not name it "
            f"(`python: {{requirements: {REQUIREMENTS}}}`)"
        )
    return found


def explained(project: Project, told: str) -> str:
    """Why the packages cannot be had: uv's own words, after the lines that they are about."""
    lines = []
    places = _places(project)
    if match := _NO_WHEEL.search(told):
        name, version = _normal(match[1]), project.manifest.python.version
        there = ", ".join(f"3.{minor}" for minor in _TAG.findall(match[2])) or "others"
        at = f"{places[name]}: " if name in places else ""
        lines.append(
            f"{at}{name} has no wheel for Python {version} (there are some for {there}): write "
            f"one of these as python.version, or another version of {name}"
        )
    else:
        words = {_normal(word) for word in re.findall(r"[A-Za-z0-9][A-Za-z0-9._-]*", told)}
        lines += [f"{place}: {name}" for name, place in places.items() if name in words]
    return "\n".join([*lines, told])


class _Origins:
    """Calls a package by its name, and by the line that its author wrote for it, or for what
    needs it."""

    def __init__(self, project: Project, wanted_by: dict[str, tuple[str, ...]]) -> None:
        self._places = _places(project)
        self._wanted_by = wanted_by

    def __call__(self, name: str) -> str:
        waiting, seen = deque([name]), {name}
        while waiting:
            one = waiting.popleft()
            if one in self._places:
                brought = "" if one == name else f"which {one} brings, "
                return f"{name} ({brought}{self._places[one]})"
            waiting.extend(each for each in self._wanted_by.get(one, ()) if each not in seen)
            seen.update(waiting)
        return name


def _first_cuda(locked: Locked) -> str:
    return next(name for name in sorted(locked.versions) if name.startswith("nvidia-"))


def _places(project: Project) -> dict[str, str]:
    """Each package that the author names, and where."""
    found = dict[str, str]()
    for name, place in _all_places(project):
        if name:
            found.setdefault(name, place)
    return found


def _all_places(project: Project) -> Iterator[tuple[str, str]]:
    python = project.manifest.python
    file = project.folder / manifest.NAME
    if python.packages and file.is_file():
        _, document = manifest.read(file)
        for index, text in enumerate(python.packages):
            place = document.place(("python", "packages", index))
            at = f":{place.line}:{place.column}" if place else ""
            yield _name(text), f"{manifest.NAME}{at}"
    if python.requirements is None:
        return
    content = (project.folder / python.requirements).read_text("utf-8", "replace")
    quoted = python.requirements.endswith(".toml")
    for number, line in enumerate(content.splitlines(), start=1):
        texts = re.findall(r"[\"']([^\"']+)[\"']", line) if quoted else [line]
        for text in texts:
            yield _name(text), f"{python.requirements}:{number}"


def _name(requirement: str) -> str:
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    return _normal(match[1]) if match else ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower().strip("-")
