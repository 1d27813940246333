"""From what a command was given to all that is wrong with it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from livepeer.runner.check.findings import Findings, SourceFinding
from livepeer.runner.check.rules import calls, files, frames, hooks, module, params, state
from livepeer.runner.check.source import LARGEST, PipelineSource, Source

if TYPE_CHECKING:
    from livepeer.runner.check.rules.manifest import ManifestSource
    from livepeer.runner.packaging.load import Reference

IMPORT_SECONDS = 60.0
"""What a pipeline gets to be imported; a large framework takes ten."""
MOST_SOURCES = 100

ClassRule = Callable[[PipelineSource], Iterator[SourceFinding]]
RULES: tuple[ClassRule, ...] = (
    hooks.misspelt_hooks,
    hooks.wrong_kind,
    hooks.wrong_arguments,
    hooks.class_hook,
    hooks.unannotated,
    hooks.metadata,
    params.untyped_params,
    params.unknown_params,
    calls.blocking_calls,
    calls.async_without_await,
    calls.downloads,
    calls.loaded_per_call,
    calls.not_awaited,
    state.shared_state,
    state.unsafe_in_threads,
    frames.not_returned,
    frames.array_returned,
    frames.read_only,
    frames.not_json,
    frames.event_without_type,
    files.secrets_shown,
)


def check(
    target: str | os.PathLike[str] | None = None,
    *,
    by_import: bool = True,
    seconds: float = IMPORT_SECONDS,
) -> Findings:
    """All that is wrong with a pipeline: `pipeline.py`, `pipeline.py:Class`, `module:Class`,
    `livepeer.yaml` or a folder (the default is the present one).

    Its files are read; then they are imported by a process of its own, which gets `seconds`, and
    whose output is dropped. `by_import=False` leaves that away: a few milliseconds instead of most
    of a second. Raises `LoadError` where there is nothing to be checked.
    """
    from livepeer.runner.check.imported import Import
    from livepeer.runner.check.installed import unnamed_packages
    from livepeer.runner.packaging.load import LoadError, locate

    began = time.monotonic()
    given = None if target is None else os.fspath(target)
    name = given or "."
    try:
        reference = locate(given)
    except LoadError as error:
        return Findings.of(name, _of_manifest(error), seconds=time.monotonic() - began)
    if not by_import:
        found = _found(reference, _sources(reference))
        return Findings.of(name, found, seconds=time.monotonic() - began)
    with Import(reference) as importing:  # it runs while the text is read
        sources = _sources(reference)
        found = _found(reference, sources)
        found += unnamed_packages(reference, sources)
        imported = False
        if not any(one.code in ("syntax", "runs_at_import") for one in found):
            result = importing.result(seconds)
            found += result.findings(reference, sources, found)
            imported = result.imported
    return Findings.of(name, found, imported=imported, seconds=time.monotonic() - began)


def check_source(reference: Reference) -> Findings:
    """What the text of a pipeline shows; nothing of it is imported, and no file but its own modules
    and its manifest is opened."""
    return Findings.of(str(reference), _found(reference, _sources(reference), whole=False))


def _found(
    reference: Reference, sources: list[Source | SourceFinding], *, whole: bool = True
) -> list[SourceFinding]:
    manifest = None
    if reference.manifest is not None and reference.file is not None:
        # Only here: what reads a manifest takes longer to import than a pipeline to be looked at.
        from livepeer.runner.check.rules.manifest import ManifestSource

        manifest = ManifestSource(reference, reference.manifest)
    found: list[SourceFinding] = []
    own: Source | None = None
    for source in sources:
        if isinstance(source, SourceFinding):
            found.append(source)
            continue
        if source.path == reference.file:
            own = source
        found += [one for one in _of_source(source, reference, manifest) if not source.ignores(one)]
    if manifest is not None:
        if own is not None:
            found += manifest.of_class(own)
        if whole:
            found += manifest.of_image()
            found += manifest.secrets()
    return found


def _of_source(
    source: Source, reference: Reference, manifest: ManifestSource | None
) -> Iterator[SourceFinding]:
    yield from module.served_at_import(source)
    yield from module.unknown_imports(source)
    if source.path == reference.file:
        yield from module.no_pipeline(source)
    in_image = manifest.in_image if manifest is not None else lambda path: True
    prepares = manifest is not None and manifest.manifest.prepare
    for cls in source.classes:
        for rule in RULES:
            yield from rule(cls)
        yield from files.missing_files(cls, in_image)
        yield from files.unprepared(cls, prepares)


def _sources(reference: Reference) -> list[Source | SourceFinding]:
    """The pipeline's file and those beside it that it imports; a finding for one that is no
    Python."""
    from livepeer.runner.packaging.project import ProjectError, imported_files

    if reference.file is None:
        return []
    paths = {reference.file}
    try:
        paths |= imported_files(reference.folder, reference.file)
    except (ProjectError, OSError):
        pass  # one is no Python: told where it is the pipeline's own, else by the import
    ordered = sorted(paths, key=lambda path: (path != reference.file, path))
    return [_source(path) for path in ordered[:MOST_SOURCES]]


def _source(path: Path) -> Source | SourceFinding:
    try:
        with path.open("rb") as file:
            return Source(path, file.read(LARGEST + 1))
    except SyntaxError as error:
        what = f"this is no Python: {error.msg}"
        line, column = error.lineno or 0, error.offset or 0
        fix = "mend the line, or what is open before it: a bracket, a quote, an indentation"
        return SourceFinding("syntax", "error", path, line, column, what, fix)
    except (ValueError, OSError, RecursionError, MemoryError) as error:
        what = getattr(error, "strerror", None) or str(error) or "it is nested too deeply"
        fix = "save it as UTF-8 text, under 1 MiB"
        return SourceFinding("syntax", "error", path, 0, 0, f"cannot be read: {what}", fix)


def _of_manifest(error: Exception) -> list[SourceFinding]:
    """A `livepeer.yaml` that is not in order; raises whatever else it is."""
    from livepeer.runner.check.rules.manifest import not_in_order
    from livepeer.runner.packaging.manifest import ManifestError

    if not isinstance(error.__cause__, ManifestError):
        raise error
    return list(not_in_order(error.__cause__))
