"""The files of a pipeline: what an image is made from."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from livepeer.runner.packaging.ignore import Ignored
from livepeer.runner.packaging.load import Reference, locate

if TYPE_CHECKING:
    from livepeer.runner.packaging.manifest import Manifest

MOST_FILES = 10_000
LARGEST_SOURCE = 1024 * 1024

_TOKENS = re.compile(
    rb"hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,}|AKIA[0-9A-Z]{16}"
    rb"|sk-[A-Za-z0-9_-]{32,}|xox[baprs]-[A-Za-z0-9-]{20,}|dckr_pat_[A-Za-z0-9_-]{20,}"
    rb"|-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"
)


class ProjectError(Exception):
    """A folder cannot become an image; the message says what is wrong with which file."""

    code = "project"


@dataclass(frozen=True, slots=True)
class Project:
    """A pipeline with its manifest, and the files that go into its image.

    `files` are paths below `folder`, sorted. `target` is what `livepeer serve` gets in the image.
    """

    folder: Path
    manifest: Manifest
    target: str
    module: Path
    name: str | None
    files: tuple[Path, ...]

    @classmethod
    def find(cls, target: str | None) -> Project:
        """From what a command was given. Raises `LoadError` and `ProjectError`."""
        return cls.of(locate(target))

    @classmethod
    def of(cls, reference: Reference) -> Project:
        """Of a pipeline that was found. Raises `ProjectError`."""
        if reference.file is None:
            raise ProjectError(
                f"{reference.module} is installed, not in a folder of its own: name the folder "
                f"with its livepeer.yaml"
            )
        folder = reference.folder
        module = reference.file.relative_to(folder)
        served = f"{reference.module}:{reference.name}" if reference.name else _path(module)
        # Its models take longer to import than what `serve` wants of this module.
        from livepeer.runner.packaging.manifest import Manifest, Python

        manifest = reference.manifest or Manifest(
            pipeline=f"{reference.module}:Pipeline", python=Python(requirements=_beside(folder))
        )
        files = sorted(_files(reference, manifest))
        if len(files) > MOST_FILES:
            raise ProjectError(f"{folder} gives {len(files)} files: narrow `include`")
        return cls(folder, manifest, served, module, reference.name, tuple(files))

    def secrets(self) -> list[str]:
        """Places (`pipeline.py:12`) that look like a secret, which an image would show to all."""
        found = []
        for file in self.files:
            path = self.folder / file
            if path.stat().st_size > LARGEST_SOURCE:
                continue
            content = path.read_bytes()
            for match in _TOKENS.finditer(content):
                line = content.count(b"\n", 0, match.start()) + 1
                found.append(f"{_path(file)}:{line}")
        return found

    def constant(self, name: str) -> object:
        """What the class says in its body (`gpu = True`), read without importing it; else None."""
        tree = ast.parse((self.folder / self.module).read_bytes())
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and self.name in (None, node.name):
                for name_, value in _assigned(node):
                    if name_ == name and isinstance(value, ast.Constant):
                        return value.value
        return None

    def prepare_key(self) -> str:
        """A hash of all that `prepare_models` may depend on: a change of other code keeps it.

        That is the method itself with every name of the module that it uses, directly or through
        others, and the class's plain attributes. Where that cannot be told, the whole files.
        """
        source = (self.folder / self.module).read_bytes()
        parts = _closure(ast.parse(source), self.name)
        digest = hashlib.sha256()
        if parts is None:
            for file in self.files:
                digest.update(_path(file).encode() + b"\0")
                digest.update(hashlib.sha256((self.folder / file).read_bytes()).digest())
        else:
            digest.update("\n".join(parts).encode())
        return digest.hexdigest()


def _beside(folder: Path) -> str | None:
    """The file with its packages, where no `livepeer.yaml` names one."""
    if (folder / "requirements.txt").is_file():
        return "requirements.txt"
    try:
        import tomllib  # where there is such a file

        told = tomllib.loads((folder / "pyproject.toml").read_text("utf-8")).get("project")
    except (OSError, ValueError):
        return None
    return "pyproject.toml" if isinstance(told, dict) and "dependencies" in told else None


def _path(file: Path) -> str:
    return file.as_posix()


def _files(reference: Reference, manifest: Manifest) -> set[Path]:
    folder, ignored = reference.folder, Ignored.of(reference.folder)
    assert reference.file is not None
    found: set[Path] = set()
    for file in imported_files(folder, reference.file):
        found.add(file.relative_to(folder))
    for named in manifest.include:
        matched = False
        for path in _matching(folder, named):
            relative = path.relative_to(folder)
            if not path.resolve().is_relative_to(folder.resolve()):
                raise ProjectError(f"include: {named!r} leads out of the folder at {relative}")
            matched = True
            if path.is_file() and not ignored(_path(relative)):
                found.add(relative)
        if not matched:
            raise ProjectError(f"include: there is no {named!r} in {folder}")
    for name in ("livepeer.yaml", "livepeer.yml"):
        if (folder / name).is_file():
            found.add(Path(name))
    # What the file names has to be there too, or no command reads it in the image.
    if (requirements := manifest.python.requirements) is not None:
        if _leads_out(requirements):
            raise ProjectError(f"python.requirements: {requirements!r} leads out of the folder")
        found.add(Path(requirements))
    return found


def _leads_out(named: str) -> bool:
    return Path(named).is_absolute() or ".." in Path(named).parts


def _matching(folder: Path, named: str) -> Iterator[Path]:
    if _leads_out(named):
        raise ProjectError(f"include: {named!r} leads out of the folder")
    base = folder / named
    if base.is_dir():
        yield from (path for path in base.rglob("*") if path.is_file())
    elif base.is_file():
        yield base
    else:
        for path in folder.glob(named):
            if path.is_dir():
                yield from (inner for inner in path.rglob("*") if inner.is_file())
            else:
                yield path


def imported_files(folder: Path, file: Path) -> set[Path]:
    """The module's own file, and those of its neighbours that it imports, and that they import.

    Raises `ProjectError` for a file that is no Python.
    """
    found: set[Path] = set()
    waiting = [file]
    if file.parent != folder:  # in a package: all of that
        top = folder / file.relative_to(folder).parts[0]
        waiting = [path for path in top.rglob("*.py") if "__pycache__" not in path.parts]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            what = str(error) or "it is nested too deeply"
            raise ProjectError(f"{path.relative_to(folder)} is no Python: {what}") from error
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                top = folder / name.partition(".")[0]
                if top.with_suffix(".py").is_file():
                    waiting.append(top.with_suffix(".py"))
                elif (top / "__init__.py").is_file():
                    waiting += [one for one in top.rglob("*.py") if "__pycache__" not in one.parts]
    return found


def _closure(tree: ast.Module, class_name: str | None) -> list[str] | None:
    """Source of what `prepare_models` depends on; None where a base class is not plain to see."""
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    owners = [
        node
        for name, node in classes.items()
        if (class_name is None or name == class_name) and _method(node) is not None
    ]
    if len(owners) != 1:
        return None
    owner = owners[0]
    method = _method(owner)
    assert method is not None
    top: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            top[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                top[(alias.asname or alias.name).partition(".")[0]] = node
        else:
            for name, _ in _assigned(node):
                top[name] = node
    parts = [ast.dump(method)]
    parts += [f"{name} = {ast.dump(value)}" for name, value in _assigned(owner)]
    seen: set[int] = {id(owner)}
    waiting: list[ast.AST] = [method]
    while waiting:
        for inner in ast.walk(waiting.pop()):
            used = top.get(inner.id) if isinstance(inner, ast.Name) else None
            if isinstance(inner, ast.Attribute) and (helper := _method(owner, inner.attr)):
                used = helper
            if used is not None and id(used) not in seen:
                seen.add(id(used))
                parts.append(ast.dump(used))
                waiting.append(used)
    return parts


def _method(
    node: ast.ClassDef, name: str = "prepare_models"
) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    for one in node.body:
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name == name:
            return one
    return None


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names and values of the assignments in a body, or of one assignment."""
    for one in node.body if isinstance(node, ast.ClassDef) else [node]:
        if isinstance(one, ast.Assign):
            for target in one.targets:
                if isinstance(target, ast.Name):
                    yield target.id, one.value
        elif isinstance(one, ast.AnnAssign) and one.value and isinstance(one.target, ast.Name):
            yield one.target.id, one.value
