"""`livepeer prepare`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from livepeer.runner.cli import options
from livepeer.trickle.cli.console import emit, fail, is_terminal, note, progress

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer prepare

LIVEPEER_MODEL_DIR=./models livepeer prepare pipeline.py"""


@app.command(epilog=EPILOG)
def prepare(pipeline: options.Target = None) -> None:
    """Fetch a pipeline's model weights: run its prepare_models().

    They go to LIVEPEER_MODEL_DIR, else /models where there is one, else the user's cache.
    """
    cls = options.pipeline(pipeline)
    with options.explained():
        from livepeer.runner import logs
        from livepeer.runner.packaging.load import short_trace
        from livepeer.runner.settings import Settings

        settings = Settings.from_env()
    logs.configure(settings.log_format, settings.log_level)
    folder = settings.model_dir
    note(f"{cls.pipeline_id} prepares its models in {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(
            f"{folder} cannot be made: {error.strerror}",
            hint="Set LIVEPEER_MODEL_DIR to a folder that you may write to.",
        )
    before, started = _size(folder), time.monotonic()
    failed: BaseException | None = None
    with _growing(folder, cls.pipeline_id):
        try:
            cls.prepare_models()
        except (Exception, SystemExit) as error:  # noqa: BLE001 — the author's code: it is shown
            failed = error
    if failed is not None:
        note(short_trace(failed, None))
        fail(f"prepare_models raised {type(failed).__name__}: {failed}")
    seconds, size = round(time.monotonic() - started, 2), _size(folder)
    if is_terminal():
        grown = f"{(size - before) / 1e6:.1f} MB more" if size > before else "nothing new"
        note(f"done after {seconds} s: {grown}, {size / 1e6:.1f} MB in {folder}")
    else:
        emit({"model_dir": str(folder), "bytes": size, "seconds": seconds})


@contextmanager
def _growing(folder: Path, name: str) -> Iterator[None]:
    """Shows how much is in the folder, as long as the block takes."""
    over = threading.Event()
    with progress() as bar:
        line = bar.add_task(name, total=None, figures="")

        def watch() -> None:
            while not over.wait(0.5):
                bar.update(line, figures=f"{_size(folder) / 1e6:.1f} MB")

        watching = threading.Thread(target=watch, name="sizes", daemon=True)
        watching.start()
        try:
            yield
        finally:
            over.set()
            watching.join(5)


def _size(folder: Path) -> int:
    """Bytes in it; what comes and goes meanwhile, as downloads do, is not counted."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue
    return total
