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
from livepeer.trickle.cli.explanations import catalogue
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


def test_every_link_of_every_text_leads_to_a_file_and_a_heading_that_there_are(manual: Any) -> None:
    texts = list(ROOT.glob("*.md"))
    for folder in ("docs", "specs", "examples", "packages", "benchmarks"):
        texts += (ROOT / folder).rglob("*.md")
    assert len(texts) > 150
    links, lost = 0, []
    for path in texts:
        source = str(path.relative_to(ROOT))
        prose = "".join(manual.FENCE.split(path.read_text(encoding="utf-8"))[::2])
        for _, _, target in manual.LINK.findall(prose):
            links += 1
            try:
                manual.resolved(source, target)
            except ValueError as error:
                lost.append(str(error))
    assert links > 200
    assert lost == []


@pytest.mark.parametrize(
    "target", ["nothing.md", "how-to/gpu.md#no-such-heading", "#no-such-heading", "../../../etc"]
)
def test_a_link_that_leads_nowhere_is_told(manual: Any, target: str) -> None:
    with pytest.raises(ValueError, match=r"docs/index\.md"):
        manual.resolved("docs/index.md", target)


def test_headings_are_linked_as_github_links_them(manual: Any, tmp_path: Path) -> None:
    text = "# A `b_c` [d](e), f!\n\n## Twice\n\n```\n# code\n```\n\n## Twice\n"
    (tmp_path / "a.md").write_text(text)
    assert manual.anchors(tmp_path / "a.md") == {"a-b_c-d-f", "twice", "twice-1"}


def test_every_code_has_a_page_in_the_site_that_the_index_the_command_and_the_manual_have(
    manual: Any,
) -> None:
    codes = set(catalogue())
    assert {page.name for page in manual.ERRORS} == {f"errors/{code}.md" for code in codes}
    (index,) = (page for page in manual.PAGES if page.name == "errors.md")
    assert set(re.findall(r"\(errors/(\w+)\.md\)", manual.text_of(index))) == codes
    for one in catalogue().values():
        assert ROOT / one.page.removeprefix(manual.REPOSITORY) in manual.ROOT.glob(
            f"docs/errors/{one.code}.md"
        )
        assert one.page in one.as_text() and one.as_document()["page"] == one.page
        assert docs.page(f"errors/{one.code}") == one.as_markdown()


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
