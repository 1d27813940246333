"""`Path` in a signature: a file that is sent, not the name of one that lies here.

A parameter `doc: Path` takes what a `File` takes, and `predict` gets the path of a temporary file
with its content, which is removed after the job. A returned `Path` leaves as the bytes of the file.
The name of a file of this machine never comes in, and none goes out.
"""

from __future__ import annotations

import io
import mimetypes
import os
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, Self

from pydantic.types import PathType

from livepeer.runner.author.file_content import sniff
from livepeer.runner.author.files import File
from livepeer.runner.author.signature.function import each_hint, replaced, shown, strip_annotated
from livepeer.runner.exceptions import SignatureError

_FORMATS = frozenset({"path", "file-path", "directory-path", "socket-path"})
_IO = (io.IOBase, typing.IO)


class PathFile(File):
    """A file that the author knows by a path: the temporary one of an input, or a returned one."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # by identity, as a set of paths has to hold it

    @classmethod
    def _validate(cls, value: object) -> Self:
        if isinstance(value, PurePath) and Path(value).is_file():
            data = Path(value).read_bytes()
            return cls(data, sniff(data) or mimetypes.guess_type(value)[0], name=value.name)
        return super()._validate(value)

    def remove(self) -> None:
        """Take the temporary file away, where one was made."""
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)


def sent(hint: Any, where: str, what: str) -> Any:
    """The hint with each `Path` in it as what is sent. Raises `SignatureError` for its relatives,
    which name files of this machine."""
    for one in each_hint(hint):
        bare = strip_annotated(one)
        if any(isinstance(each, PathType) for each in getattr(one, "__metadata__", ())):
            raise SignatureError(
                f"{where}: {what} names a file of this machine, and callers have none here; write "
                f"`Path`, which is a temporary file of what they send, or `File`"
            )
        origin = typing.get_origin(bare) or bare
        if not isinstance(origin, type) or origin is Path:
            continue
        if issubclass(origin, PurePath) or origin is os.PathLike:
            raise SignatureError(f"{where}: {what} is {shown(bare)}: write `Path`, or `File`")
        if issubclass(origin, _IO):
            raise SignatureError(
                f"{where}: {what} is {shown(bare)}, which JSON cannot hold; write `File`: its "
                f"`open()` gives a binary file, and `File(data)` makes one to return"
            )
    return replaced(hint, Path, PathFile)


def check_schema(schema: Mapping[str, Any], where: str) -> None:
    """Refuse a `Path` where we cannot stand in between: in the fields of models and dataclasses."""
    for owner in (schema, *schema.get("$defs", {}).values()):
        for name, field in owner.get("properties", {}).items():
            if _names_a_path(field):
                model = owner.get("title", "")
                raise SignatureError(
                    f"{where}: `{model}.{name}` is a Path, which there would name a file of this "
                    f"machine; write `{name}: File` (its `path()` is a temporary file with the "
                    f"content), or make it a parameter of its own"
                )
        if _names_a_path({key: value for key, value in owner.items() if key != "properties"}):
            raise SignatureError(
                f"{where}: a Path in it would name a file of this machine; write File"
            )


def check_default(default: Any, where: str, name: str) -> None:
    if isinstance(default, PurePath):
        raise SignatureError(
            f"{where}: the default of parameter `{name}` names a file of this machine; write "
            f"`{name}: Path | None = None`, and choose yours inside of the function"
        )


def path_files(value: Any) -> Iterator[PathFile]:
    """Every file below that the author sees as a path."""
    if isinstance(value, PathFile):
        yield value
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from path_files(child)
    elif isinstance(value, list | tuple | set | frozenset):
        for child in value:
            yield from path_files(child)


def as_paths(value: Any) -> Any:
    """The value with the path of its temporary file in the place of each."""
    if isinstance(value, PathFile):
        return value.path()
    if isinstance(value, Mapping):
        return {key: as_paths(child) for key, child in value.items()}
    if isinstance(value, list | set | frozenset) or type(value) is tuple:
        return type(value)(map(as_paths, value))
    return value


def _names_a_path(node: Any) -> bool:
    if isinstance(node, Mapping):
        if node.get("format") in _FORMATS and node.get("type") == "string":
            return True
        return any(_names_a_path(child) for key, child in node.items() if key != "$defs")
    return isinstance(node, list) and any(map(_names_a_path, node))
