"""`livepeer init`."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from livepeer.trickle.cli.console import emit, fail, is_terminal, note

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer init my-pipeline

livepeer init tint --template live-video

livepeer init . --name sentiment

livepeer init . --ci github"""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([._ -]+[A-Za-z0-9]+)*")


@app.command(epilog=EPILOG)
def init(
    folder: Annotated[Path, typer.Argument(help="Where; it is made if it is missing.")] = Path(),
    template: Annotated[
        Literal["batch", "stream", "live-video", "live-audio", "live-data"],
        typer.Option(
            "-t",
            "--template",
            help="A call with an answer, one with events, or a live stream of one kind.",
        ),
    ] = "batch",
    name: Annotated[
        str | None, typer.Option(help="The pipeline's name; default: the folder's.")
    ] = None,
    ci: Annotated[
        Literal["github"] | None,
        typer.Option(
            "--ci",
            help="Also a workflow that tests each change, and publishes and signs the image at a "
            "tag v1.2.3. In a folder that is a pipeline already: only that.",
        ),
    ] = None,
) -> None:
    """Begin a pipeline: a folder with a class, its test and its manifest, ready to run."""
    from livepeer.runner.author.pipeline import kebab_case
    from livepeer.runner.cli import templates
    from livepeer.trickle.cli.host import versions

    cls = class_name(folder.resolve().name if name is None else name)
    if cls is None:
        raise typer.BadParameter(
            "a pipeline's name begins with a letter and has letters, digits and dashes, such as "
            "text-to-image",
            param_hint="--name",
        )
    kind = templates.KINDS[template]
    values = {
        "Class": cls,
        "id": kebab_case(cls),
        "version": versions()["livepeer-runner"] or "0",
        "about": kind.about,
        "input": kind.input,
        "call": kind.call,
    }
    there = ci is not None and (folder / "pipeline.py").exists()
    files = {} if there else templates.render(template, values)
    if ci is not None:
        files |= templates.workflow(ci, values)
    _write(folder, files)
    if not is_terminal():
        emit({"folder": str(folder), "id": values["id"], "files": sorted(files)})
    note(f"{values['id']}: {', '.join(sorted(files))}\n\nNext:")
    if there:
        note("  git tag v0.1.0 && git push --tags   # the folder is the repository's root")
        return
    steps = [f"livepeer predict {kind.input}", "livepeer serve"]
    steps.insert(0, f"cd {folder}") if folder.resolve() != Path.cwd() else steps.append(
        "livepeer dev"
    )
    for step in steps:
        note(f"  {step}")


def class_name(name: str) -> str | None:
    """`text-to-image` -> `TextToImage`; None for what makes no name of a class."""
    if not _NAME.fullmatch(name):
        return None
    cls = "".join(part[:1].upper() + part[1:] for part in re.split(r"[._ -]+", name))
    taken = {"Pipeline", "LivePipeline", "Reply", "Token", "Params", "VideoFrame", "AudioFrame"}
    return f"My{cls}" if cls in taken or keyword.iskeyword(cls) else cls


def _write(folder: Path, files: dict[str, str]) -> None:
    """All of them or none."""
    try:
        there = [name for name in sorted(files) if (folder / name).exists()]
        if there:
            fail(f"{', '.join(there)} in {folder} would be overwritten: nothing was changed")
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{folder} cannot be written: {error.strerror}")
