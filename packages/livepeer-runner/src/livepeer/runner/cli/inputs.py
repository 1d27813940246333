"""`-i` arguments as a pipeline's input, by its signature."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from livepeer.runner.author.files import File
from livepeer.runner.author.signature.schema import form_values
from livepeer.runner.exceptions import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import BaseModel

    from livepeer.runner.author.signature import PredictSignature

MOST_LINES = 10_000


def read(signature: PredictSignature, arguments: Sequence[str]) -> BaseModel:
    """The validated input. Raises `typer.BadParameter` and pydantic's `ValidationError`.

    Values are read as the parts of a form are: text for a text field, JSON for any other.
    """
    whole: Any = None
    items: list[tuple[str, str | File]] = []
    for argument in arguments:
        if argument == "-" or argument.startswith("@"):
            whole = _document(argument.removeprefix("@"))
            continue
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{argument!r} is not K=V{_hint(signature)}", param_hint="-i")
        items.append((name, _part(signature, name, value)))
    if whole is None:
        return signature.validate_form(items)
    if items:
        if not isinstance(whole, dict):
            raise typer.BadParameter("fields fit into a JSON object only", param_hint="-i")
        fields = form_values(signature.form_fields, items)
        whole |= {name: _as_json(value) for name, value in fields.items()}
    return signature.validate_json(json.dumps(whole))


def pairs(arguments: Sequence[str], option: str) -> dict[str, Any]:
    """`K=V` arguments as a dict; a value that is JSON is taken as it, all else is text."""
    found: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{argument!r} is not K=V", param_hint=option)
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def documents(arguments: Sequence[str]) -> list[dict[str, Any]]:
    """`-i` arguments for calls whose signature is not known: `K=V`, where `@FILE` is its content
    as a data URI (a text that begins so is written as JSON, `K="@V"`); or one `@FILE.jsonl`, an
    input on each line. Raises `typer.BadParameter`."""
    if len(arguments) == 1 and arguments[0].startswith("@"):
        return list(_lines(Path(arguments[0][1:]).expanduser()))
    given = pairs(arguments, "-i")
    for argument in arguments:
        name, _, value = argument.partition("=")
        if value.startswith("@"):
            given[name] = _content(Path(value[1:]).expanduser())
    return [given] if given else []


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint="-i") from error
    for number, line in enumerate(filter(str.strip, text.splitlines()), 1):
        if number > MOST_LINES:
            raise typer.BadParameter(f"{path} has over {MOST_LINES} lines", param_hint="-i")
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise typer.BadParameter(f"line {number} is no JSON object", param_hint="-i")
        yield value


def _content(path: Path) -> str:
    try:
        return File(path).data_uri()
    except (OSError, FileError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint="-i") from error


def _part(signature: PredictSignature, name: str, value: str) -> str | File:
    field = signature.form_fields.get(name)
    if not value.startswith("@"):
        if field is not None and field.is_file and _names_a_file(value):
            raise typer.BadParameter(
                f"{name} is a file: write {name}=@{value} to send its content", param_hint="-i"
            )
        return value
    path = Path(value[1:]).expanduser()
    try:
        if field is not None and field.is_file:
            return File(path)
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(
            f"{name}: {path} cannot be read: {error.strerror}", param_hint="-i"
        ) from error
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{name} is text, and {path} is not", param_hint="-i") from error
    except FileError as error:
        raise typer.BadParameter(f"{name}: {error}", param_hint="-i") from error


def _names_a_file(value: str) -> bool:
    try:
        return Path(value).expanduser().is_file()
    except (OSError, ValueError):  # too long for a name, or a zero byte in it
        return False


def _document(name: str) -> Any:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise typer.BadParameter(f"{name}: {error.strerror}", param_hint="-i") from error
    except ValueError as error:
        where = "stdin" if name == "-" else name
        raise typer.BadParameter(f"{where} is no JSON: {error}", param_hint="-i") from error


def _as_json(value: Any) -> Any:
    if isinstance(value, File):
        return value.data_uri()
    return [_as_json(item) for item in value] if isinstance(value, list) else value


def _hint(signature: PredictSignature) -> str:
    names = list(signature.form_fields)
    return f"; the fields are {', '.join(names)}" if names else ""
