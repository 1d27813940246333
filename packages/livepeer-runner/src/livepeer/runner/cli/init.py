"""`livepeer init`."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from livepeer.trickle.cli.console import emit, emit_text, fail, is_terminal, note

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer init my-pipeline

livepeer init tint --template live-video

livepeer init --list

livepeer init reader --from ocr

livepeer init . --name sentiment

livepeer init . --agents --ci github"""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([._ -]+[A-Za-z0-9]+)*")


@app.command(epilog=EPILOG)
def init(
    folder: Annotated[Path, typer.Argument(help="Where; it is made if it is missing.")] = Path(),
    template: Annotated[
        Literal["batch", "image", "stream", "live-video", "live-audio", "live-data", "generate"],
        typer.Option(
            "-t",
            "--template",
            help="A call with an answer, one with a picture in and out, one with events; a live "
            "stream of one kind, or one that is made out of nothing.",
        ),
    ] = "batch",
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="EXAMPLE", help="Copy an example instead; --list names them."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The pipeline's name; default: the folder's.")
    ] = None,
    agents: Annotated[
        bool,
        typer.Option(
            "--agents",
            help="Also a skill for coding agents, in .agents/skills. In a folder that is a "
            "pipeline already: only that, and AGENTS.md where it is missing.",
        ),
    ] = False,
    ci: Annotated[
        Literal["github"] | None,
        typer.Option(
            "--ci",
            help="Also a workflow that tests each change, and publishes and signs the image at a "
            "tag v1.2.3. In a folder that is a pipeline already: only that.",
        ),
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="List templates and examples, and end.")
    ] = False,
) -> None:
    """Begin a pipeline: a folder with a class, its test and its manifest, ready to run."""
    from livepeer.runner.author.pipeline import kebab_case
    from livepeer.runner.cli import templates
    from livepeer.trickle.cli.host import versions

    if list_:
        _list()
        return
    if source is not None:
        _copy(folder, source, name, agents=agents, ci=ci)
        return
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
    there = (ci is not None or agents) and (folder / "pipeline.py").exists()
    files = {} if there else templates.render(template, values)
    if there and agents:
        known = templates.render(template, {**values, "about": "", "input": "-i field=value"})
        files = {
            each: known[each] for each in ("AGENTS.md", "CLAUDE.md") if not (folder / each).exists()
        }
    files |= _besides(values, agents=agents, ci=ci)
    _write(folder, files)
    _tell(folder, values["id"], files)
    if there:
        if ci is not None:
            note("  git tag v0.1.0 && git push --tags   # the folder is the repository's root")
        return
    file = next((each for each in ("in.png", "in.mp4") if each in kind.input), None)
    steps = [
        *([f"cd {folder}"] if folder.resolve() != Path.cwd() else []),
        f"livepeer predict {kind.input}" + (f"   # {file} is one of yours" if file else ""),
        "python -m pytest -q   # one test is yours to write",
        "livepeer serve",
        "livepeer dev",
    ]
    for step in steps:
        note(f"  {step}")


def _besides(values: dict[str, str], *, agents: bool, ci: str | None) -> dict[str, str]:
    """What was asked for besides the pipeline itself."""
    from livepeer.runner.cli import templates

    files = templates.agents(values) if agents else {}
    return files if ci is None else files | templates.workflow(ci, values)


def _copy(folder: Path, source: str, name: str | None, *, agents: bool, ci: str | None) -> None:
    """An example as a folder of its own."""
    from livepeer.runner.cli import examples, templates
    from livepeer.trickle.cli.host import versions

    known = examples.names()
    example = source.rstrip("/").rpartition("/")[2].replace("-", "_")
    if not known:
        fail("this package was installed without its examples: reinstall livepeer-runner")
    if example not in known:
        raise typer.BadParameter(
            f"there is no example {source}: {', '.join(known)}", param_hint="--from"
        )
    if name is not None:
        raise typer.BadParameter(
            "an example keeps its name: change the class in pipeline.py", param_hint="--name"
        )
    values = {
        "Class": "",
        "id": example.replace("_", "-"),
        "version": versions()["livepeer-runner"] or "0",
        "about": known[example],
        "input": "-i field=value",
        "call": "",
    }
    files: dict[str, str | bytes] = dict(templates.beside_example(values))
    files |= examples.copied(example)
    files |= _besides(values, agents=agents, ci=ci)
    _write(folder, files)
    _tell(folder, values["id"], files)
    if folder.resolve() != Path.cwd():
        note(f"  cd {folder}")
    if "requirements.txt" in files:
        note("  pip install -r requirements.txt")
    note("  livepeer check")
    note("  cat README.md   # how it is called, its model and licence")


def _tell(folder: Path, id: str, files: dict[str, str] | dict[str, str | bytes]) -> None:
    if not is_terminal():
        emit({"folder": str(folder), "id": id, "files": sorted(files)})
    note(f"{id}: {', '.join(sorted(files))}\n\nNext:")


def _list() -> None:
    from livepeer.runner.cli import examples, templates

    made = {name: kind.about for name, kind in templates.KINDS.items()}
    known = examples.names()
    if not is_terminal():
        emit({"templates": made, "examples": known})
        return
    edge = max(map(len, (*made, *known))) + 2
    for title, rows in (("--template", made), ("--from", known)):
        emit_text(f"{title}:")
        for name, about in rows.items():
            emit_text(f"  {name:<{edge}}{about}")


def class_name(name: str) -> str | None:
    """`text-to-image` -> `TextToImage`; None for what makes no name of a class."""
    if not _NAME.fullmatch(name):
        return None
    cls = "".join(part[:1].upper() + part[1:] for part in re.split(r"[._ -]+", name))
    taken = {
        *("Pipeline", "LivePipeline", "Reply", "Token", "Params", "VideoFrame", "AudioFrame"),
        *("Image", "Field", "Fraction", "Iterator"),
    }
    return f"My{cls}" if cls in taken or keyword.iskeyword(cls) else cls


def _write(folder: Path, files: dict[str, str] | dict[str, str | bytes]) -> None:
    """All of them or none."""
    try:
        there = [name for name in sorted(files) if (folder / name).exists()]
        if there:
            fail(f"{', '.join(there)} in {folder} would be overwritten: nothing was changed")
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    except OSError as error:
        fail(f"{folder} cannot be written: {error.strerror}")
