"""`livepeer docs`: the manual, which travels with this package."""

from __future__ import annotations

import difflib
import re
from importlib.resources import files
from typing import Annotated, Final

import typer

from livepeer.trickle.cli.console import emit, emit_text, fail, is_terminal
from livepeer.trickle.cli.explanations import catalogue

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

MARK: Final = re.compile(r"^<!-- page: (\S+) -->\n\n", re.MULTILINE)
"""Stands before each page of `llms-full.txt`."""

EPILOG = """Examples:

livepeer docs

livepeer docs live-video

livepeer docs all > livepeer.md"""


class NoPage(ValueError):
    """There is no such page; the message names those that were meant."""


@app.command(epilog=EPILOG)
def docs(
    topic: Annotated[
        str | None, typer.Argument(help="A page, such as live-video; `all` for all of them.")
    ] = None,
) -> None:
    """Print the manual, or a page of it, as Markdown; no network is needed."""
    if topic is None and not is_terminal():
        emit(topics())
        return
    try:
        emit_text(page(topic), end="")
    except NoPage as error:
        fail(error, code=2)


def topics() -> dict[str, str]:
    """Each page's topic, and its title."""
    found = {}
    for name, text in _pages().items():
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        found[name.removesuffix(".md")] = title[1] if title else name
    return found


def page(topic: str | None) -> str:
    """A page as Markdown, all of them for `all`, and what there is for None.

    A topic is named whole (`tutorials/live-video`), by its last part, or by a word that no other
    has; an error's page by its code (`errors/over_capacity`). Raises `NoPage`.
    """
    if topic is None:
        width = max(map(len, topics()))
        lines = [f"{name:<{width}}  {title}" for name, title in topics().items()]
        return "\n".join([*lines, "", "livepeer docs TOPIC prints one of them.", ""])
    if topic == "all":
        return _manual()
    pages = {name.removesuffix(".md"): text for name, text in _pages().items()}
    wanted = topic.strip().removesuffix(".md").lower()
    ends = [name for name in pages if name == wanted or name.rpartition("/")[2] == wanted]
    near = ends or [name for name in pages if wanted in name]
    if wanted in pages or len(near) == 1:
        return pages[wanted if wanted in pages else near[0]]
    if (error := catalogue().get(wanted.removeprefix("errors/"))) is not None:
        return error.as_markdown()
    if not near:
        near = difflib.get_close_matches(wanted, pages, n=3, cutoff=0.4)
    hint = f": did you mean {', '.join(near)}?" if near else "; livepeer docs lists what there is"
    raise NoPage(f"there is no page {topic!r}{hint}")


def _pages() -> dict[str, str]:
    _, *parts = MARK.split(_manual())
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _manual() -> str:
    return files(__package__).joinpath("manual", "llms-full.txt").read_text(encoding="utf-8")
