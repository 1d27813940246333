"""The manual is fresh, its links lead somewhere, and the commands that it names are there."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from livepeer.trickle.cli import docs
from livepeer.trickle.cli.group import as_click
from livepeer.trickle.cli.host import discover, halves

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def manual() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manual", ROOT / "scripts" / "manual.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["manual"] = module
    spec.loader.exec_module(module)
    return module


def test_the_generated_files_are_fresh_and_every_link_leads_somewhere(manual: Any) -> None:
    texts = {page.name: manual.text_of(page) for page in manual.PAGES}
    for folder in (ROOT, manual.PACKAGED):
        full = (folder / "llms-full.txt").read_text(encoding="utf-8")
        assert full == manual.whole(texts), "run scripts/docs"
        index = (folder / "llms.txt").read_text(encoding="utf-8")
        assert index == manual.index(texts, site=False), "run scripts/docs"
    assert re.match(r"# [^\n]+\n\n> [^\n]+\n\n", index)
    assert index.count("\n# ") == 0 and "\n## Optional\n" in index
    nav = (ROOT / "properdocs.yml").read_text(encoding="utf-8")
    assert re.findall(r"- ([\w/-]+\.md)$", nav, re.MULTILINE) == list(texts)


def test_every_page_is_to_be_had_offline() -> None:
    topics = docs.topics()
    assert len(topics) > 30
    for topic in topics:
        assert docs.page(topic).lstrip().startswith(("# ", "[", "<")), topic
    assert "process_video" in docs.page("live-video")
    assert docs.page("tutorials/live-video.md") == docs.page("live-video")
    with pytest.raises(docs.NoPage, match="how-to/weights"):
        docs.page("wieghts")


def named() -> list[tuple[str, list[str]]]:
    """Each `livepeer` command on the pages that are ours alone, with its page."""
    found = []
    for folder in ("tutorials", "how-to"):
        for path in sorted((ROOT / "docs" / folder).glob("*.md")):
            for language, text in FENCE.findall(path.read_text(encoding="utf-8")):
                if language not in ("sh", "console"):
                    continue
                for line in text.splitlines():
                    for part in re.split(r"&&|\|\|?", line.removeprefix("$ ")):
                        words = shlex.split(part, comments=True)
                        if words[:1] == ["livepeer"]:
                            found.append((path.name, words[1:]))
    return found


def test_the_commands_on_the_pages_have_the_options_that_are_named() -> None:
    commands, found = discover()[0], named()
    assert len(found) > 30
    for page, (name, *arguments) in found:
        assert name in commands, page
        half = halves().get(name)
        command = as_click(half if half and half.meant(arguments) else commands[name])
        if arguments[:1] and arguments[0] in getattr(command, "commands", {}):
            command = command.commands[arguments[0]]
        known = {option for each in command.params for option in each.opts + each.secondary_opts}
        given = {each.partition("=")[0] for each in arguments if re.match(r"--?[a-z]", each)}
        assert given <= known, (page, name, given - known)
