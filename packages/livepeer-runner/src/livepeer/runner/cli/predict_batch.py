"""One call of a batch class, in this process."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from livepeer.runner import local
from livepeer.runner.cli import inputs
from livepeer.runner.errors import InvalidInput, JobError, invalid
from livepeer.runner.exceptions import FileError
from livepeer.runner.packaging.load import short_trace
from livepeer.runner.settings import Settings
from livepeer.trickle.cli.console import emit, emit_text, fail, is_terminal, note, progress, results

if TYPE_CHECKING:
    from livepeer.runner.author.pipeline import Pipeline
    from livepeer.runner.author.signature import Encoded

_URI = re.compile(r"data:([^,;]*)[^,]*,(.*)", re.DOTALL)


async def predict(
    cls: type[Pipeline],
    settings: Settings,
    arguments: list[str],
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    """Validate, set up, run, print. Whatever fails ends the command, with its reason.

    `as_json`: what is printed is one document, `{"kind": "value" | "events" | "file", ...}`.
    """
    hosted = local.serve(cls, dataclasses.replace(settings, registration=None))
    try:
        validated = await hosted.fetched(inputs.read(hosted.signature, arguments))
    except ValidationError as error:
        _refused(invalid(error))
    except FileError as error:
        fail(error, code=2)
    with progress() as bar:
        line = bar.add_task(cls.pipeline_id, total=None, figures="setup")

        def report(fraction: float, message: str) -> None:
            bar.update(line, total=1.0, completed=fraction, figures=message)

        try:
            async with hosted:
                bar.update(line, figures="")
                started = time.monotonic()
                if hosted.signature.is_generator:
                    events = hosted.events(validated, on_progress=report)
                    if as_json:
                        await _events_document(events, output)
                    else:
                        await _print_events(events, output)
                else:
                    encoded = await hosted.predict(validated, on_progress=report)
                    bar.stop()
                    if as_json:
                        _document(encoded, output)
                    else:
                        _show(encoded, output)
                _compare(cls, time.monotonic() - started)
        except local.SetupFailed as error:
            fail(error.reason, explain=error.code)
        except InvalidInput as error:
            bar.stop()
            _refused(error)
        except Exception as error:  # noqa: BLE001 — the author's code: shown as it failed
            bar.stop()
            _failed(error)


async def _print_events(events: AsyncGenerator[bytes, None], output: Path | None) -> None:
    """The events as they come, each as one line of JSON where they are read by a program."""
    count = 0
    async with aclosing(events):
        with output.open("wb") if output is not None else nullcontext() as sink:
            async for event in events:
                count += 1
                if sink is not None:
                    sink.write(event + b"\n")
                    sink.flush()
                else:
                    _print(json.loads(event))
    if output is not None:
        note(f"{count} events -> {output}")


async def _events_document(events: AsyncGenerator[bytes, None], output: Path | None) -> None:
    async with aclosing(events):
        found = [event async for event in events]
    _keep(b"".join(event + b"\n" for event in found), output)
    emit({"kind": "events", "events": [json.loads(event) for event in found]})


def _keep(body: bytes, output: Path | None) -> None:
    if output is not None:
        output.write_bytes(body)


def _document(encoded: Encoded, output: Path | None) -> None:
    body, kind = encoded
    _keep(body, output)
    if kind == "application/json":
        emit({"kind": "value", "value": json.loads(body)})
        return
    told: dict[str, Any] = {"kind": "file", "media_type": kind, "bytes": len(body)}
    if output is not None:
        told["path"] = str(output)
    else:
        told["data"] = f"data:{kind};base64,{base64.b64encode(body).decode()}"
    emit(told)


def _show(encoded: Encoded, output: Path | None) -> None:
    body, kind = encoded
    if kind != "application/json":
        if output is not None:
            output.write_bytes(body)
            note(f"{kind}, {len(body)} bytes -> {output}")
        elif is_terminal():
            note(f"{kind}, {len(body)} bytes: say -o FILE to keep it, or pipe it somewhere.")
        else:
            results().buffer.write(body)
            results().flush()
        return
    value = json.loads(body)
    if output is None:
        _print(value)
        return
    if isinstance(value, str):
        output.write_text(value, encoding="utf-8")
    else:
        text = json.dumps(value, ensure_ascii=False, indent=2)
        output.write_text(f"{text}\n", encoding="utf-8")
    note(f"-> {output}")


def _print(value: Any) -> None:
    if not is_terminal():
        emit(value)
    elif isinstance(value, str):
        emit_text(_brief(value))
    else:
        emit(_brief(value))


def _brief(value: Any) -> Any:
    """For a person: each file as a few words about it."""
    if isinstance(value, str) and (match := _URI.fullmatch(value)):
        return f"<{match[1] or 'file'}, {len(match[2]) * 3 // 4} bytes>"
    if isinstance(value, dict):
        return {key: _brief(item) for key, item in value.items()}
    return [_brief(item) for item in value] if isinstance(value, list) else value


def _refused(error: JobError) -> None:
    for field in error.fields:
        note(f"  {field.name or 'input'}: {field.message}")
    fail(error, hint="`livepeer schema` shows what it takes.", code=2)


def _failed(error: BaseException) -> None:
    if isinstance(error, JobError):
        if error.__cause__ is not None:
            note(str(error.__cause__))
        fail(error.message, explain=error.code)
    note(short_trace(error, None))
    fail(f"predict raised {type(error).__name__}: {error}")


def _compare(cls: type[Pipeline], seconds: float) -> None:
    if cls.timeout is not None and seconds > cls.timeout:
        note(
            f"It took {seconds:.0f} s: served, {cls.__name__}.timeout ({cls.timeout:g} s) would "
            f"have ended it."
        )
