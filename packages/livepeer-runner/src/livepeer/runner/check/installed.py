"""Packages that a pipeline imports here, and that its image would not have.

An image gets the SDK, and what the requirements name, with all that those need. What is installed
here besides works here, and is missing there.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from livepeer.runner.check.findings import SourceFinding
from livepeer.runner.check.source import Source
from livepeer.runner.packaging.load import Reference

OURS = ("livepeer", "av", "numpy", "PIL", "pydantic")
"""What comes with the SDK, and is imported most."""

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[([^\]]*)\])?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_KEPT = ("ImportError", "ModuleNotFoundError", "Exception", "BaseException")


def unnamed_packages(
    reference: Reference, sources: Sequence[Source | SourceFinding]
) -> Iterator[SourceFinding]:
    """The first import of each package that is installed here and named nowhere."""
    used = [
        (source, node, name)
        for source in sources
        if isinstance(source, Source)
        for node, name in _imports(source.tree)
        if name not in OURS and not _is_own(name, reference.folder)
    ]
    wanted = _named(reference) if used else None
    if wanted is None:
        return
    there = _with_all_they_need([("livepeer-runner", frozenset()), *wanted])
    if there is None:
        return
    brings: Mapping[str, list[str]] | None = None
    told: set[str] = set()
    for source, node, name in used:
        if name in told or _plain(name) in there:
            continue
        if brings is None:  # a look at everything that is installed
            brings = metadata.packages_distributions()
        homes = [_plain(home) for home in brings.get(name, ())]
        if homes and not there.intersection(homes):
            told.add(name)
            finding = source.finding(
                node,
                "requirement_missing",
                "warning",
                f"{name!r} is installed here, and the image will not have it: no requirement "
                f"names what brings it",
                _fix(reference, homes[0]),
            )
            if not source.ignores(finding):
                yield finding


def _fix(reference: Reference, package: str) -> str:
    manifest = reference.manifest
    if manifest is not None and manifest.python.requirements:
        return f"add a line `{package}` to {manifest.python.requirements}"
    if manifest is not None:
        return f"write `python: {{packages: [{package}]}}` in livepeer.yaml"
    return f"add a line `{package}` to a requirements.txt beside the file"


def _named(reference: Reference) -> list[tuple[str, frozenset[str]]] | None:
    """The requirements with their extras; None where one of them is no plain name."""
    python = reference.manifest.python if reference.manifest is not None else None
    lines = list(python.packages) if python is not None else []
    file = reference.folder / ((python.requirements if python else None) or "requirements.txt")
    try:
        lines += file.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError):
        return None
    found = []
    for line in lines:
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = _REQUIREMENT.match(text)
        if text.startswith("-") or "://" in text or match is None:
            return None
        found.append((_plain(match[1]), _extras(match[2])))
    return found


def _with_all_they_need(wanted: list[tuple[str, frozenset[str]]]) -> set[str] | None:
    """The names of all that gets installed; None where one of those wanted is not installed here,
    so that what it brings is not known."""
    there: set[tuple[str, frozenset[str]]] = set()
    waiting = list(wanted)
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in there:
            continue
        there.add((name, extras))
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            if any(name == each for each, _ in wanted):
                return None
            continue
        for line in needed:
            match = _REQUIREMENT.match(line)
            of_extra = _EXTRA.findall(line.partition(";")[2])
            if match is not None and (not of_extra or extras & set(map(_plain, of_extra))):
                waiting.append((_plain(match[1]), _extras(match[2])))
    return {name for name, _ in there}


def _extras(text: str | None) -> frozenset[str]:
    return frozenset(_plain(one.strip()) for one in (text or "").split(",") if one.strip())


def _plain(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_own(name: str, folder: Path) -> bool:
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


def _imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Each import of a package, but those that a module may do without."""
    for node in ast.iter_child_nodes(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        elif isinstance(node, ast.Try) and any(map(_catches, node.handlers)):
            continue
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        for name in names:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names:
                assert isinstance(node, ast.stmt)
                yield node, top
        yield from _imports(node)


def _catches(handler: ast.ExceptHandler) -> bool:
    caught = ast.unparse(handler.type) if handler.type is not None else "BaseException"
    return any(name in caught for name in _KEPT)
