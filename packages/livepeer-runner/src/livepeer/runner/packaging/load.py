"""From what a command was given to a pipeline class.

| Given | Means |
| --- | --- |
| nothing, or a folder | its `livepeer.yaml`, else its `pipeline.py` |
| `livepeer.yaml` | the class that it names, in its folder |
| `pipeline.py`, `pipeline.py:Class` | the only pipeline in that file, or the one named |
| `module:Class`, `module` | the same of a module, in this folder or installed |

The file's folder goes on `sys.path`, so that it may import its neighbours, as when Python runs it.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livepeer.runner.author.pipeline import PipelineBase
    from livepeer.runner.packaging.manifest import Manifest

FILE = "pipeline.py"
MANIFEST = "livepeer.yaml"
"""What reads it is imported where there is one: 0.1 s of a cold start."""


class LoadError(Exception):
    """No pipeline can be loaded; the message says why and what to do.

    `trace` is the traceback of the author's own code, empty where that did not run. `usage`: it was
    asked for in the wrong way.
    """

    code = "not_loaded"

    def __init__(self, message: str, *, trace: str = "", usage: bool = False) -> None:
        super().__init__(message)
        self.trace = trace
        self.usage = usage


@dataclass(frozen=True)
class Reference:
    """Where a pipeline is, before anything of it is imported.

    `file` is None for a module that is not in `folder`. `folder` is the one to watch and to import
    from; `name` is the class, None for the only one.
    """

    folder: Path
    module: str
    file: Path | None
    name: str | None
    manifest: Manifest | None = None

    def __str__(self) -> str:
        where = str(self.file) if self.file is not None else self.module
        return where if self.name is None else f"{where}:{self.name}"


def locate(target: str | None) -> Reference:
    """Understand what was given. Raises `LoadError` for what cannot be found."""
    if target is None:
        return _in_folder(Path.cwd(), "here")
    path = Path(target).expanduser()
    if path.is_dir():
        return _in_folder(path.resolve(), f"in {target}")
    if path.suffix in (".yaml", ".yml"):
        return _from_manifest(path)
    place, colon, name = target.rpartition(":")
    if not colon:
        place, name = target, ""
    if place.endswith(".py") or "/" in place:
        file = Path(place).expanduser()
        if not file.is_file():
            raise LoadError(f"there is no file {place}", usage=True)
        return _of_file(file.resolve(), name or None)
    return _of_module(place, name or None, Path.cwd())


def load(target: str | Reference | None) -> type[PipelineBase]:
    """Import a pipeline class. Raises `LoadError`."""
    reference = target if isinstance(target, Reference) else locate(target)
    return _pick(_import(reference), reference)


def _in_folder(folder: Path, where: str) -> Reference:
    if (folder / MANIFEST).is_file():
        return _from_manifest(folder / MANIFEST)
    if (folder / FILE).is_file():
        return _of_file(folder / FILE, None)
    raise LoadError(
        f"there is no {MANIFEST} and no {FILE} {where}: name a file, such as my_code.py or "
        f"my_code.py:MyClass, or begin with `livepeer init`",
        usage=True,
    )


def _from_manifest(path: Path) -> Reference:
    # Its models and YAML's reader, for those who have one.
    from livepeer.runner.packaging.manifest import Manifest, ManifestError

    if not path.is_file():
        raise LoadError(f"there is no file {path}", usage=True)
    try:
        manifest = Manifest.read(path)
    except ManifestError as error:
        raise LoadError(str(error)) from error
    module, _, name = manifest.pipeline.partition(":")
    found = _of_module(module, name, path.resolve().parent)
    return Reference(found.folder, found.module, found.file, found.name, manifest)


def _of_file(file: Path, name: str | None) -> Reference:
    """A file inside packages is imported as part of them, so that its relative imports work."""
    folder, parts = file.parent, [file.stem]
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        parts.insert(0, folder.name)
        folder = folder.parent
    return Reference(folder, ".".join(parts), file, name)


def _of_module(module: str, name: str | None, folder: Path) -> Reference:
    base = folder.joinpath(*module.split("."))
    for file in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if file.is_file():
            return Reference(folder, module, file, name)
    return Reference(folder, module, None, name)


def _import(reference: Reference) -> ModuleType:
    folder, file = str(reference.folder), reference.file
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        if file is None or _is_free(reference):
            return importlib.import_module(reference.module)
        return _beside(reference.module, file)
    except ModuleNotFoundError as error:
        top = reference.module.partition(".")[0]
        if file is None and error.name in (reference.module, top):
            raise LoadError(
                f"there is no module {reference.module!r} in {folder}, and none is installed",
                usage=True,
            ) from error
        raise LoadError(
            f"{reference} imports {error.name!r}, which is not installed{_to_install(reference)}",
            trace=short_trace(error, reference.file),
        ) from error
    except (Exception, SystemExit) as error:  # whatever the author's module raises is shown
        raise LoadError(
            f"{reference} cannot be imported: {type(error).__name__}: {error}",
            trace=short_trace(error, reference.file),
        ) from error


def _is_free(reference: Reference) -> bool:
    """Whether the name means this file: no module of that name, or package, came from elsewhere."""
    if (known := sys.modules.get(reference.module)) is not None:
        return _is_at(known, reference.file)
    top = reference.module.partition(".")[0]
    package = sys.modules.get(top)
    return package is None or _is_at(package, reference.folder / top)


def _is_at(module: ModuleType, place: Path | None) -> bool:
    """Whether a module is this file, or this folder as a package."""
    found = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(each is not None and Path(each).resolve() == place for each in found)


def _beside(name: str, file: Path) -> ModuleType:
    """Import a file under a name of its own: another module already has the name that it has."""
    own = f"{name}@{file}"
    if own in sys.modules:
        return sys.modules[own]
    spec = spec_from_file_location(own, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[own] = module  # pydantic looks a class's module up to resolve its hints
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[own]
        raise
    return module


def _to_install(reference: Reference) -> str:
    place = reference.folder if reference.file is None else reference.file.parent
    found = place / "requirements.txt"
    return f": pip install -r {found}" if found.is_file() else ""


def _pick(module: ModuleType, reference: Reference) -> type[PipelineBase]:
    from livepeer.runner.author.pipeline import PipelineBase

    classes = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, PipelineBase)
        and not value.__module__.startswith("livepeer.runner.")
    }
    own = {name: cls for name, cls in classes.items() if cls.__module__ == module.__name__}
    where = reference.file.name if reference.file is not None else reference.module
    if reference.name is not None:
        named = getattr(module, reference.name, None)
        if isinstance(named, type) and issubclass(named, PipelineBase):
            return named
        what = "is not a Pipeline" if named is not None else "is not in it"
        there = f"; it has {', '.join(classes)}" if classes else ""
        raise LoadError(f"{where}: {reference.name} {what}{there}", usage=True)
    choice = _leaves(own) or _leaves(classes)
    if not choice:
        raise LoadError(
            f"{where} holds no pipeline: write `class Name(Pipeline)` or `class Name(LivePipeline)`"
        )
    if len(choice) > 1:
        raise LoadError(
            f"{where} holds several pipelines; say which: "
            + " or ".join(f"{where}:{name}" for name in choice),
            usage=True,
        )
    return next(iter(choice.values()))


def _leaves(classes: dict[str, type[PipelineBase]]) -> dict[str, type[PipelineBase]]:
    """Without those that others of them are derived from, and without private ones."""
    distinct = {cls: name for name, cls in reversed(classes.items()) if not name.startswith("_")}
    return {
        name: cls
        for cls, name in reversed(distinct.items())
        if not any(other is not cls and issubclass(other, cls) for other in classes.values())
    }


def short_trace(error: BaseException, file: Path | None) -> str:
    """The traceback from the author's file on, without how it came to be imported or called."""
    if isinstance(error, SyntaxError):
        return "".join(traceback.format_exception_only(error)).rstrip()
    first = error.__traceback__
    step: TracebackType | None = first
    while step is not None and not _within(step, file):
        step = step.tb_next
    lines = traceback.format_exception(type(error), error, step or first, chain=False)
    return "".join(lines).rstrip()


def _within(step: TracebackType, file: Path | None) -> bool:
    name = step.tb_frame.f_code.co_filename
    if file is not None:
        return Path(name) == file
    return "importlib" not in name and "livepeer/runner" not in name.replace("\\", "/")
