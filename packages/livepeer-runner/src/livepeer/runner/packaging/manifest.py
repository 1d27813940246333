"""`livepeer.yaml`: how a pipeline's image is built, as a strict model.

A field that is not known is an error here, not ignored: this file is written by hand, and a typing
mistake in it would otherwise be found in production. Its JSON Schema for editors is made from this
model (`specs/schemas/livepeer-yaml.json`, `livepeer schema --manifest`).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from livepeer.runner.packaging.yaml_file import Document, Place, YamlError, parse

NAME = "livepeer.yaml"
LARGEST = 64 * 1024
"""Bytes of the file."""
SCHEMA_URL = (
    "https://raw.githubusercontent.com/livepeer/livepeer-python/main/specs/schemas/"
    "livepeer-yaml.json"
)
"""What `livepeer init` names in the file, for the YAML language servers of editors."""

_REFERENCE = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"

Text = Annotated[str, Field(strict=True, min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(max_length=256)]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the file, where it stands, and what to write."""

    place: Place | None
    text: str


class ManifestError(Exception):
    """The file cannot be used; `problems` has each thing that is wrong.

    Its text has a line for each, as `livepeer.yaml:3:5: ...`, which editors and terminals open.
    """

    code = "manifest"

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        super().__init__(
            "\n".join(
                f"{path}:{one.place.line}:{one.place.column}: {one.text}"
                if one.place is not None
                else f"{path}: {one.text}"
                for one in problems
            )
        )


class _Section(BaseModel):
    # Built when a file is read: all of it once, and not each section by itself, at each start.
    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, defer_build=True
    )


class Python(_Section):
    """The interpreter and what is installed into it."""

    version: Annotated[
        Text,
        Field(
            pattern=r"^3\.\d+$",
            description="In quotes: YAML reads 3.10 as the number 3.1.",
            examples=["3.12"],
        ),
    ] = "3.12"
    requirements: Annotated[
        Text | None, Field(description="A requirements file, beside this one.")
    ] = None
    packages: Annotated[
        Texts,
        Field(description="Requirements, as pip takes them.", examples=[["onnxruntime>=1.20"]]),
    ] = ()


class System(_Section):
    """Packages of the operating system."""

    packages: Annotated[Texts, Field(description="Debian packages.", examples=[["ffmpeg"]])] = ()


class Manifest(_Section):
    """How the image of a pipeline is built. `pipeline` is the only line that has to be there."""

    pipeline: Annotated[
        Text,
        Field(
            pattern=_REFERENCE,
            description="The class, as module:Class.",
            examples=["pipeline:Sentiment"],
        ),
    ]
    image: Annotated[
        Text | None,
        Field(
            description="Where `livepeer push` publishes it, without a tag.",
            examples=["docker.io/me/sentiment-livepeer-runner"],
        ),
    ] = None
    python: Python = Python.model_construct()
    system: System = System.model_construct()
    base: Annotated[
        Text | None,
        Field(description="The image to begin from; default: python:VERSION-slim."),
    ] = None
    cuda: Annotated[
        Text | None,
        Field(
            pattern=r"^\d+\.\d+(\.\d+)?$",
            description="Begin from NVIDIA's CUDA image of this version. Not needed where CUDA "
            "comes with the packages, as for torch.",
            examples=["12.8"],
        ),
    ] = None
    prepare: Annotated[
        bool,
        Field(strict=True, description="Run prepare_models() at build: weights are in the image."),
    ] = False
    include: Annotated[
        Texts,
        Field(
            description="Files, folders or patterns besides the modules that the pipeline imports.",
            examples=[["assets/"]],
        ),
    ] = ()

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read and check a file. Raises `ManifestError` that lists all that is wrong with it."""
        return read(path)[0]


def read(path: Path) -> tuple[Manifest, Document]:
    """A file that is in order, and where each field of it stands. Raises `ManifestError`."""
    document = _document(path)
    content = {} if document.content is None else document.content
    if not isinstance(content, dict):
        raise ManifestError(
            path,
            [Problem(document.place(()), "write `pipeline: module:Class`, one field on each line")],
        )
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        problems = [_told(one, document) for one in error.errors()]
    else:
        problems = _contradictions(manifest, path.parent, document)
        if not problems:
            return manifest, document
    order = sorted(problems, key=lambda one: one.place or Place(0, 0))
    raise ManifestError(path, order)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the file."""
    schema = Manifest.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_URL,
        **schema,
        "title": NAME,
    }


def _document(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise ManifestError(path, [Problem(None, f"is over {LARGEST // 1024} KiB")])
        return parse(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            path, [Problem(Place(line, 1), "is not UTF-8 text: save it as UTF-8")]
        ) from error
    except OSError as error:
        raise ManifestError(path, [Problem(None, f"cannot be read: {error.strerror}")]) from error
    except YamlError as error:
        raise ManifestError(path, [Problem(error.place, str(error))]) from error


def _contradictions(manifest: Manifest, folder: Path, document: Document) -> list[Problem]:
    problems = []
    if manifest.base is not None and manifest.cuda is not None:
        text = "base and cuda are both set: keep the one that the image is made from"
        problems.append(Problem(document.place(("cuda",)), text))
    file = manifest.python.requirements
    if file is not None and not (folder / file).is_file():
        where = document.place(("python", "requirements"))
        problems.append(Problem(where, f"python.requirements: there is no file {file!r}"))
    return problems


_EXAMPLES = {
    "pipeline": "module:Class, such as pipeline:Sentiment",
    "python": '{version: "3.12", requirements: requirements.txt}',
    "python.version": 'a version in quotes, such as "3.12"',
    "python.packages": 'a list, such as ["onnxruntime>=1.20"]',
    "system": "{packages: [ffmpeg]}",
    "system.packages": "a list, such as [ffmpeg]",
    "cuda": 'a version in quotes, such as "12.8"',
    "prepare": "true or false",
    "include": "a list, such as [assets/]",
}


def _told(error: Any, document: Document) -> Problem:
    """One of pydantic's errors as a sentence that says what to write."""
    path = error["loc"]
    names = [part for part in path if isinstance(part, str)]
    name = ".".join(names)
    place = document.place(path)
    if error["type"] == "missing":
        return Problem(
            document.place(path[:-1]),
            f"{name} is missing: write {name}: {_EXAMPLES.get(name, '...')}",
        )
    if error["type"] == "extra_forbidden":
        known = _known(names[:-1])
        near = difflib.get_close_matches(names[-1], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        return Problem(place, f"{name} is not a field: {hint}")
    shown = _shown(error["input"])
    example = _EXAMPLES.get(name)
    if example is None:
        return Problem(place, f"{name} is {shown}: {error['msg']}")
    return Problem(place, f"{name} is {shown}: write {example}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _known(place: list[str]) -> list[str]:
    model: type[BaseModel] = Manifest
    for part in place:
        inner = model.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
