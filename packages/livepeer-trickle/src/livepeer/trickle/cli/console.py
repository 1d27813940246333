"""What the commands print: for a person on a terminal, for a program on a pipe.

Results go to standard output, everything else to standard error. Some of it others have sent, and
a terminal obeys control characters: it gets everything through `livepeer.trickle.text.printable`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import typer

from livepeer.trickle.text import CONTROL, printable

if TYPE_CHECKING:
    from rich.progress import Progress


_results: ContextVar[TextIO | None] = ContextVar("results", default=None)


class PrintableFormatter(logging.Formatter):
    """A log line as a terminal may have it."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), lines=True)


def is_terminal() -> bool:
    """Whether standard output is read by a person."""
    return results().isatty()


def results() -> TextIO:
    """Where results go: standard output, also within `results_only`."""
    return _results.get() or sys.stdout


@contextmanager
def results_only() -> Iterator[None]:
    """Keep standard output for results where a program reads it.

    What else is printed meanwhile, by an author's code, a library of his in C or a process that
    these start, goes to standard error.
    """
    if is_terminal():
        yield
        return
    with _apart(sys.stdout) as stream:
        token = _results.set(stream)
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            _results.reset(token)


@contextmanager
def _apart(stream: TextIO) -> Iterator[TextIO]:
    """The stream where nothing else writes: its descriptor is standard error's meanwhile."""
    try:
        here = stream.fileno() == 1 and sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):  # a test's own
        here = False
    if not here:
        yield stream
        return
    stream.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with open(os.dup(kept), "w", encoding=stream.encoding, errors=stream.errors) as apart:
            yield apart
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def emit(value: Any) -> None:
    """Print a result: indented and coloured on a terminal, one line of JSON on a pipe."""
    if is_terminal():
        from rich.console import Console
        from rich.highlighter import JSONHighlighter

        Console().print(JSONHighlighter()(_json(value, indent=2)), soft_wrap=True)
    else:
        print(_json(value), file=results(), flush=True)


def emit_text(text: str, *, end: str = "\n") -> None:
    """Print a result that is text: as it is on a pipe, with no control characters on a terminal."""
    print(
        printable(text, lines=True) if is_terminal() else text, end=end, file=results(), flush=True
    )


def _json(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False, indent=indent)
    # What JSON itself leaves as it is.
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def note(message: str) -> None:
    """Say something beside the result, on standard error."""
    typer.echo(printable(message, lines=True), err=True)


def fail(
    message: str | Exception, *, hint: str | None = None, code: int = 1, explain: str | None = None
) -> NoReturn:
    """Say what failed and what to do, and end the command with `code`.

    The command that explains it comes last: for an error of the SDK by the error's own code, else
    by `explain`.
    """
    typer.secho(f"Error: {printable(str(message), lines=True)}", fg=typer.colors.RED, err=True)
    if hint:
        note(hint)
    known = explain or getattr(message, "code", None)
    if isinstance(known, str) and known:  # others have codes too, which are numbers
        note(f"livepeer explain {known}")
    raise typer.Exit(code)


def agree(told: str, *, yes: bool) -> None:
    """Say what is going to cost, and ask, unless `yes`. A script, which cannot be asked, is
    refused."""
    if yes:
        note(told)
    elif not sys.stdin.isatty():
        fail(told, hint="Say --yes to pay it, and --max-spend WEI for how much at most.", code=4)
    elif not typer.confirm(f"{told}. Pay?", err=True):
        raise typer.Exit(4)


def writable(path: Path | None) -> Path | None:
    """Callback of an option for a file to write: a wrong one is refused before any work is done."""
    if path is None:
        return None
    there = path if path.exists() else path.absolute().parent
    if not there.is_dir() and there != path:
        raise typer.BadParameter(f"there is no folder {path.parent}")
    if path.is_dir() or not os.access(there, os.W_OK):
        raise typer.BadParameter(f"{path} cannot be written")
    return path


def progress() -> Progress:
    """A progress bar on standard error; it draws nothing where that is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        # What is printed while a bar is drawn would end up where the bar is: not in a pipe.
        redirect_stdout=is_terminal(),
    )


@contextmanager
def working(task: str) -> Iterator[Callable[[str, float, float], None]]:
    """What long work is doing: on a line of progress, with how much of it is done, of how much (0:
    unknown); where standard error is no terminal, each new thing in a line of its own."""
    said = ""
    with progress() as bar:
        line = bar.add_task(task, total=None, figures="")

        def tell(what: str, done: float, of: float) -> None:
            nonlocal said
            bar.update(line, total=of or None, completed=done, figures=what)
            if bar.disable and what and what != said:
                said = what
                note(f"{task}: {what}")

        yield tell
