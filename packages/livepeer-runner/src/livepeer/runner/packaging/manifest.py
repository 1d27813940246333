"""`livepeer.yaml`: how a pipeline's image is built, as a strict model.

A field that is not known is an error here, not ignored: this file is written by hand, and a typing
mistake in it would otherwise be found in production.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

NAME = "livepeer.yaml"

_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

Text = Annotated[str, StringConstraints(strict=True, min_length=1, strip_whitespace=True)]


class ManifestError(Exception):
    """The file cannot be used; `problems` has a sentence for each thing that is wrong."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.path = path
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Python(_Section):
    """The interpreter and what is installed into it."""

    version: Annotated[Text, Field(pattern=r"^3\.\d+$")] = "3.12"
    requirements: Text | None = None
    packages: tuple[Text, ...] = ()


class System(_Section):
    """Packages of the operating system."""

    packages: tuple[Text, ...] = ()


class Manifest(_Section):
    """The whole file. `pipeline` is the only line that has to be there."""

    pipeline: Annotated[Text, Field(pattern=_REFERENCE.pattern)]
    image: Text | None = None
    python: Python = Python()
    system: System = System()
    base: Text | None = None
    cuda: Annotated[Text, Field(pattern=r"^\d+\.\d+(\.\d+)?$")] | None = None
    prepare: Annotated[bool, Field(strict=True)] = False
    include: tuple[Text, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read and check a file. Raises `ManifestError` that lists all that is wrong with it."""
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f"line {mark.line + 1}: " if mark is not None else ""
            raise ManifestError(path, [f"{line}no YAML: {error.problem}"]) from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ManifestError(path, [f"cannot be read: {error}"]) from error
        if content is None:
            content = {}
        if not isinstance(content, dict):
            raise ManifestError(path, ["write `pipeline: module:Class`, one field on each line"])
        problems = []
        try:
            manifest = cls.model_validate(content)
        except ValidationError as error:
            problems = [_told(one) for one in error.errors()]
        else:
            if manifest.base is not None and manifest.cuda is not None:
                problems = ["base and cuda are both set: keep the one that the image is made from"]
            for name, file in (("python.requirements", manifest.python.requirements),):
                if file is not None and not (path.parent / file).is_file():
                    problems.append(f"{name}: there is no file {file!r}")
            if not problems:
                return manifest
        raise ManifestError(path, problems)


_EXAMPLES = {
    "pipeline": "module:Class, such as pipeline:Sentiment",
    "python.version": 'a version in quotes, such as "3.12"',
    "cuda": 'a version in quotes, such as "12.8"',
    "prepare": "true or false",
    "python.packages": 'a list, such as ["onnxruntime>=1.20"]',
    "system.packages": "a list, such as [ffmpeg]",
    "include": "a list, such as [assets/]",
}


def _told(error: Any) -> str:
    """One of pydantic's errors as a sentence that says what to write."""
    place = [part for part in error["loc"] if isinstance(part, str)]
    name = ".".join(place)
    if error["type"] == "missing":
        return f"{name} is missing: write {name}: {_EXAMPLES.get(name, '...')}"
    if error["type"] == "extra_forbidden":
        known = _known(place[:-1])
        near = difflib.get_close_matches(place[-1], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        return f"{name} is not a field: {hint}"
    example = _EXAMPLES.get(name)
    if example is None:
        return f"{name} is {error['input']!r}: {error['msg']}"
    return f"{name} is {error['input']!r}: write {example}"


def _known(place: list[str]) -> list[str]:
    model: type[BaseModel] = Manifest
    for part in place:
        inner = model.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
