"""`livepeer serve` as containers call it: a pipeline, a host, a port, and no more to be said of it.

typer and what stands on it is imported for two options otherwise, at every cold start. All that
goes wrong before a pipeline is loaded is left to `serve`, which finds it too, and says so.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import NoReturn

from livepeer.runner.cli import init_process


def run(arguments: Sequence[str]) -> bool:
    """Serve until SIGTERM or Ctrl-C; False, with nothing done, where `serve` has to look at it."""
    line = _read(arguments)
    if line is None:
        return False
    init_process.split()
    from livepeer.runner.running import garbage

    with garbage.imports():  # what serves, which the init process has no use for
        from livepeer.runner.author.signature import PredictSignature  # noqa: F401 — each kind's
        from livepeer.runner.check import check_source
        from livepeer.runner.exceptions import SettingsError, SignatureError
        from livepeer.runner.packaging.load import LoadError, load, locate
        from livepeer.runner.serving import listener, server
        from livepeer.runner.settings import Settings

    try:
        settings = Settings.from_env()
        settings = dataclasses.replace(
            settings,
            host=settings.host if line.host is None else line.host,
            port=settings.port if line.port is None else line.port,
        )
        listener.bind(settings.host, settings.port).close()
        with garbage.imports():  # for a manifest, more of them; nothing of the author's runs yet
            reference = locate(line.pipeline)
            findings = check_source(reference)
    except (SettingsError, LoadError, OSError):
        return False
    if findings.errors or findings.warnings:
        return False
    try:
        server.serve(load(reference), settings)
    except (LoadError, SignatureError) as error:
        _end(error)
    except SystemExit as error:
        if not isinstance(error.code, str):
            raise
        _end(error)
    return True


@dataclasses.dataclass(frozen=True, slots=True)
class _ServerLine:
    pipeline: str | None
    host: str | None
    port: int | None


def _read(arguments: Sequence[str]) -> _ServerLine | None:
    """The arguments, where they are these and no others."""
    pipeline: str | None = None
    host: str | None = None
    port: int | None = None
    waiting = list(reversed(arguments))
    while waiting:
        word = waiting.pop()
        name, given, value = word.partition("=")
        if name in ("--host", "--port"):
            if not given:
                value = waiting.pop() if waiting else "-"
            if value.startswith("-"):
                return None
            if name == "--host":
                host = value
            elif re.fullmatch("[0-9]{1,5}", value) and int(value) <= 65535:
                port = int(value)
            else:
                return None
        elif word.startswith("-") or not word or pipeline is not None:
            return None
        else:
            pipeline = word
    return _ServerLine(pipeline, host, port)


def _end(error: BaseException) -> NoReturn:
    """As `serve` ends: what that takes is worth its import now."""
    import typer

    from livepeer.runner.cli import options
    from livepeer.trickle.cli.console import fail

    try:
        with options.explained():
            if isinstance(error, SystemExit):
                fail(str(error.code))
            raise error
    except typer.Exit as end:
        raise SystemExit(end.exit_code) from None
