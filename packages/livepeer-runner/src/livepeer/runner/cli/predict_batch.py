"""One call of a batch class, in this process."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import ValidationError

from livepeer.runner.batch.buffer import EventBuffer
from livepeer.runner.batch.predictor import Predictor
from livepeer.runner.batch.work import BatchWork
from livepeer.runner.cli import inputs
from livepeer.runner.errors import InvalidInput, JobError, invalid
from livepeer.runner.exceptions import FileError
from livepeer.runner.job import Job, current_job
from livepeer.runner.packaging.load import short_trace
from livepeer.runner.running.execution import Execution
from livepeer.runner.running.lifecycle import State
from livepeer.runner.running.service import Service
from livepeer.runner.serving.kinds import make_service
from livepeer.runner.settings import Settings
from livepeer.trickle.cli.console import emit, emit_text, fail, is_terminal, note, progress, results

if TYPE_CHECKING:
    from livepeer.runner.author.pipeline import Pipeline
    from livepeer.runner.author.signature import Encoded

CLOSE_SECONDS = 2.0
"""What a generator gets to close itself after Ctrl-C."""

_URI = re.compile(r"data:([^,;]*)[^,]*,(.*)", re.DOTALL)


async def predict(
    cls: type[Pipeline], settings: Settings, arguments: list[str], output: Path | None
) -> None:
    """Validate, set up, run, print. Whatever fails ends the command, with its reason."""
    service = make_service(cls, dataclasses.replace(settings, registration=None))
    assert isinstance(service.work, BatchWork)
    predictor = service.work.predictor
    try:
        validated = inputs.read(predictor.signature, arguments)
        await _fetch(validated, settings)
    except ValidationError as error:
        _refused(invalid(error))
    except FileError as error:
        fail(str(error), code=2)
    with progress() as bar:
        line = bar.add_task(cls.pipeline_id, total=None, figures="setup")

        def report(fraction: float, message: str) -> None:
            bar.update(line, total=1.0, completed=fraction, figures=message)

        async with _set_up(service):
            bar.update(line, figures="")
            started = time.monotonic()
            context = copy_context()
            context.run(current_job.set, Job("predict", on_progress=report))
            try:
                if predictor.signature.is_generator:
                    await _events(predictor, validated, output, context)
                else:
                    execution = context.run(predictor.execute, validated)
                    encoded = await _result(execution)
                    bar.stop()
                    _show(encoded, output)
            except InvalidInput as error:
                bar.stop()
                _refused(error)
            except JobError as error:
                bar.stop()
                _failed(error)
            except Exception as error:  # noqa: BLE001 — the author's code: shown as it failed
                bar.stop()
                _failed(error)
            _compare(cls, time.monotonic() - started)


@asynccontextmanager
async def _set_up(service: Service) -> AsyncIterator[None]:
    await service.start()
    try:
        await service.lifecycle.wait_settled()
        if service.lifecycle.state is State.ERROR:
            fail(service.lifecycle.detail or "setup failed")
        yield
    finally:
        await service.aclose()


async def _result(execution: Execution) -> Encoded:
    try:
        encoded: Encoded = await execution.future
    finally:
        if not execution.future.done():
            execution.stop()
    return encoded


async def _events(predictor: Predictor, validated: Any, output: Path | None, context: Any) -> None:
    """Print the events as they come, each as one line of JSON where that is read by a program."""
    buffer = EventBuffer()
    execution = context.run(
        predictor.produce, validated, lambda value: predictor.encode_event(value) + b"\n", buffer
    )
    sink: IO[str] | None = output.open("w", encoding="utf-8") if output is not None else None
    count = 0
    try:
        while chunk := await buffer.get():
            for text in chunk.decode().splitlines():
                count += 1
                if sink is not None:
                    sink.write(f"{text}\n")
                    sink.flush()
                else:
                    _print(json.loads(text))
        await execution.future
    finally:
        if sink is not None:
            sink.close()
        if not execution.future.done():
            buffer.close()
            execution.stop()
            # Its `finally` blocks run at its next event.
            await asyncio.wait((execution.future,), timeout=CLOSE_SECONDS)
    if output is not None:
        note(f"{count} events -> {output}")


async def _fetch(validated: Any, settings: Settings) -> None:
    from livepeer.runner.author import fetch

    # The author's own machine and the author's own URLs: private addresses are as good as others.
    await fetch.resolve(
        validated,
        max_bytes=settings.limits.max_file,
        timeout=settings.limits.fetch_timeout,
        allow_private=True,
    )


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
    fail(str(error), hint="`livepeer schema` shows what it takes.", code=2)


def _failed(error: BaseException) -> None:
    if isinstance(error, JobError):
        if error.__cause__ is not None:
            note(str(error.__cause__))
        fail(error.message)
    note(short_trace(error, None))
    fail(f"predict raised {type(error).__name__}: {error}")


def _compare(cls: type[Pipeline], seconds: float) -> None:
    if cls.timeout is not None and seconds > cls.timeout:
        note(
            f"It took {seconds:.0f} s: served, {cls.__name__}.timeout ({cls.timeout:g} s) would "
            f"have ended it."
        )
