"""Input from arguments, output to a file, a terminal or a pipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer

from livepeer.client.files import FileOutput, encode
from livepeer.trickle.cli.console import emit, emit_text, is_terminal, note


def read_inputs(arguments: list[str] | None) -> Any:
    """The input that `-i` arguments describe.

    A value that is JSON is taken as it (`-i n=3`, `-i 'tags=["a"]'`; a text that looks like JSON is
    written `-i 'n="3"'`), `@path` is a file, all else is text.
    """
    whole: Any = {}
    for argument in arguments or []:
        if argument.startswith("@"):
            whole = _whole(argument[1:])
            continue
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{argument!r} is not K=V", param_hint="-i")
        if not isinstance(whole, dict):
            raise typer.BadParameter("fields do not fit into what @FILE gave", param_hint="-i")
        whole[name] = _value(name, value)
    return whole


def _value(name: str, text: str) -> Any:
    if text.startswith("@"):
        path = Path(text[1:])
        if not path.is_file():
            raise typer.BadParameter(f"{name}: there is no file {path}", param_hint="-i")
        return path
    try:
        return json.loads(text)
    except ValueError:
        return text


def _whole(name: str) -> Any:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise typer.BadParameter(f"{name}: {error.strerror}", param_hint="-i") from error
    except ValueError as error:
        raise typer.BadParameter(f"{name} is no JSON: {error}", param_hint="-i") from error


def show(value: Any, output: Path | None) -> None:
    """Print a result, or write it to `output`."""
    if output is not None:
        _write(value, output)
    elif isinstance(value, FileOutput):
        if is_terminal():
            note(f"{value!r}: say -o FILE to keep it, or pipe it somewhere.")
        else:
            sys.stdout.buffer.write(value.data)
            sys.stdout.flush()
    elif isinstance(value, str):
        emit_text(value)
    else:
        emit(_brief(value) if is_terminal() else encode_files(value))


def show_document(value: Any, output: Path | None) -> None:
    """Print a result as one document, `{"kind": "value" | "file", ...}`; keep it in `output`."""
    if output is not None:
        _write(value, output, told=False)
    if isinstance(value, FileOutput):
        told: dict[str, Any] = {
            "kind": "file",
            "media_type": value.media_type,
            "bytes": len(value),
        }
        told |= {"data": value.data_uri()} if output is None else {"path": str(output)}
        emit(told)
    else:
        emit({"kind": "value", "value": encode_files(value)})


def _write(value: Any, output: Path, *, told: bool = True) -> None:
    files = list(_files(value))
    if len(files) == 1:
        note(f"{files[0]!r} -> {files[0].save(output)}")
        if told and value is not files[0]:
            emit(_brief(value))
        return
    if isinstance(value, str):
        output.write_text(value, encoding="utf-8")
    else:
        text = json.dumps(encode_files(value), ensure_ascii=False, indent=2)
        output.write_text(text + "\n", encoding="utf-8")
    note(f"-> {output}")


def encode_files(value: Any) -> Any:
    """`value` with each file as its data URI."""
    if isinstance(value, FileOutput):
        return value.data_uri()
    if isinstance(value, dict):
        return {key: encode_files(item) for key, item in value.items()}
    if isinstance(value, list):
        return [encode_files(item) for item in value]
    return encode(value)


def _brief(value: Any) -> Any:
    """`value` with each file as a few words about it."""
    if isinstance(value, FileOutput):
        return repr(value)
    if isinstance(value, dict):
        return {key: _brief(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_brief(item) for item in value]
    return value


def _files(value: Any) -> Any:
    if isinstance(value, FileOutput):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _files(item)
    elif isinstance(value, list):
        for item in value:
            yield from _files(item)
