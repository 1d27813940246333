"""`livepeer.yaml`: what it says wrongly, and what the class beside it says otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from livepeer.runner.check.findings import FindingLevel, SourceFinding
from livepeer.runner.check.source import Source
from livepeer.runner.packaging.load import Reference
from livepeer.runner.packaging.manifest import NAME, Manifest, ManifestError, read
from livepeer.runner.packaging.project import Project, ProjectError
from livepeer.runner.packaging.yaml_file import Document


def not_in_order(error: ManifestError) -> Iterator[SourceFinding]:
    """A file that cannot be used, each thing at its place."""
    for problem in error.problems:
        line, column = problem.place or (0, 0)
        message, _, fix = problem.text.partition(": ")
        yield SourceFinding(
            "manifest",
            "error",
            error.path,
            line,
            column,
            message if fix else problem.text,
            fix or "`livepeer schema --manifest` prints what it may say",
        )


class ManifestSource:
    """A `livepeer.yaml` that is in order, beside the pipeline that it names."""

    def __init__(self, reference: Reference, manifest: Manifest) -> None:
        self.manifest = manifest
        self._reference = reference
        self._path = reference.folder / NAME

    @cached_property
    def _document(self) -> Document | None:
        return _document(self._path)

    @cached_property
    def _project(self) -> Project | str:
        """Looked for where something depends on it: the folder is read for it. Else what is
        wrong."""
        try:
            return Project.of(self._reference)
        except ProjectError as error:
            return str(error)

    def in_image(self, path: Path) -> bool:
        """Whether its image will have a file, by its path below the folder; True where no image
        can be made."""
        return isinstance(self._project, str) or path in self._project.files

    def of_image(self) -> Iterator[SourceFinding]:
        """What keeps an image from being made, or published."""
        wrong = self._project
        if isinstance(wrong, str) and wrong.startswith("include:"):
            fix = "name a file or folder that is beside livepeer.yaml"
            yield self._at("include", "manifest", "error", wrong, fix)
        if self.manifest.image is not None:
            # Not at the top: a start of a pipeline does not come here.
            from livepeer.runner.packaging.registry.reference import (
                ImageReference,
                InvalidReference,
            )

            try:
                ImageReference.parse(self.manifest.image)
            except InvalidReference as error:
                fix = "write host/owner/name in small letters, such as docker.io/me/sentiment"
                yield self._at("image", "name_refused", "error", f"image: {error}", fix)

    def secrets(self) -> Iterator[SourceFinding]:
        """What looks like a secret in the files of its image: a look into each of them."""
        project = self._project
        for place in () if isinstance(project, str) else project.secrets():
            file, _, line = place.rpartition(":")
            yield SourceFinding(
                "secret_in_file",
                "error",
                self._path.parent / file,
                int(line),
                1,
                "looks like a secret, and goes into the image, which shows it to all",
                "read it from the environment (`os.environ`); for prepare_models: "
                "`livepeer build --secret NAME`",
            )

    def of_class(self, source: Source) -> Iterator[SourceFinding]:
        """What it says of a class, beside what `source`, the module that it names, says."""
        named = self.manifest.pipeline.partition(":")[2]
        classes = source.classes
        own = [cls for cls in classes if cls.name == named]
        if classes and named not in source.defined:
            yield self._at(
                "pipeline",
                "manifest",
                "error",
                f"pipeline names the class {named}, which is not in that file",
                f"write one that is: {', '.join(cls.name for cls in classes)}",
            )
        for cls in own:
            if self.manifest.prepare and cls.whole and "prepare_models" not in cls.methods:
                yield self._at(
                    "prepare",
                    "manifest",
                    "warning",
                    f"prepare is true, but {named} has no prepare_models: nothing is fetched",
                    "take the line away, or write `@classmethod def prepare_models(cls) -> None:`",
                )

    def _at(
        self, field: str, code: str, level: FindingLevel, message: str, fix: str
    ) -> SourceFinding:
        place = self._document.place((field,)) if self._document is not None else None
        line, column = place or (0, 0)
        return SourceFinding(code, level, self._path, line, column, message, fix)


def _document(path: Path) -> Document | None:
    try:
        return read(path)[1]
    except ManifestError:
        return None  # changed since it was read
