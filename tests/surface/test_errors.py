"""Every public error has a code that is explained, in the command and on a page of its own.

`uv run --no-sync python tests/surface/test_errors.py` writes `docs/errors/*.md` anew.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from livepeer.trickle.cli.explanations import FILE, Explanation, catalogue, nearest, read
from livepeer.trickle.cli.host import discover

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "errors"
SOURCES = sorted(ROOT.glob("packages/*/src/livepeer/**/*.py"))
HOMES = ("livepeer-trickle", "livepeer-client", "livepeer-runner")
PUBLIC = (
    "livepeer.trickle",
    "livepeer.trickle.exceptions",
    "livepeer.trickle.media",
    "livepeer.trickle.server",
    "livepeer.runner.errors",
    "livepeer.runner.exceptions",
    "livepeer.runner.testing",
    "livepeer.client",
    "livepeer.client.exceptions",
)
CODE = re.compile(r'    code(?:: ClassVar\[str\])? = "(\w+)"$')
FINDING = re.compile(r'"([a-z_]+)",\s*\n?\s*(?:"(?:error|warning)"|level)')


def public_errors() -> Iterator[type[BaseException]]:
    for name in PUBLIC:
        module = importlib.import_module(name)
        for each in getattr(module, "__all__", vars(module)):
            value = getattr(module, each)
            if isinstance(value, type) and issubclass(value, BaseException):
                yield value


@functools.cache
def coded() -> dict[str, str]:
    """Every class of the sources with a code of its own, by its file and its name."""
    found = {}
    for path in SOURCES:
        name = ""
        for line in path.read_text().splitlines():
            if match := re.match(r"class (\w+)", line):
                name = match[1]
            elif match := CODE.match(line):
                found[f"{path.parent.name}.{name}"] = match[1]
    return found


def found_by_check() -> set[str]:
    """The codes of findings of `livepeer check`."""
    room = ROOT / "packages" / "livepeer-runner" / "src" / "livepeer" / "runner" / "check"
    texts = [
        path.read_text()
        for path in room.rglob("*.py")
        if path.name not in ("report.py", "findings.py")
    ]
    named = {code for text in texts for code in FINDING.findall(text)}
    return named | {code for text in texts for code in re.findall(r'"code": "(\w+)"', text)}


def test_every_public_error_has_a_code_that_is_explained() -> None:
    errors = list(public_errors())
    assert len(errors) > 40
    silent = [one.__name__ for one in errors if not hasattr(one, "code")]
    assert silent == ["CallFailed"]  # it has the code of the answer
    unexplained = [
        one.__name__ for one in errors if getattr(one, "code", "bench") not in catalogue()
    ]
    assert unexplained == []


def test_every_code_in_the_sources_is_explained_and_nothing_else() -> None:
    classes, checked = coded(), found_by_check()
    assert len(checked) > 30
    used = {*classes.values(), *checked}
    used.add("no_output")  # the one warning of live streams
    assert used - catalogue().keys() == set()
    assert catalogue().keys() - used == set()


def test_one_code_is_one_class() -> None:
    seen: dict[str, str] = {}
    for name, code in coded().items():
        # What a pipeline raises is a JobError of this kind.
        if code not in ("pipeline_error",):
            assert code not in seen, (name, seen[code])
        seen[code] = name


def test_the_type_in_an_answer_is_the_code() -> None:
    from livepeer.runner import errors

    for name in errors.__all__:
        one = getattr(errors, name)
        if isinstance(one, type) and issubclass(one, errors.JobError):
            assert one.type == one.code, name


def test_an_explanation_names_only_commands_and_variables_that_there_are() -> None:
    commands = set(discover()[0])
    sources = "\n".join(path.read_text() for path in SOURCES)
    for one in catalogue().values():
        text = one.as_text()
        named = set(re.findall(r"`livepeer ([a-z]+)", text))
        named |= set(re.findall(r"^ *livepeer ([a-z]+)", text, re.M))
        assert named <= commands, one.code
        for variable in re.findall(r"LIVEPEER_[A-Z_]+[A-Z]", text):
            assert f'"{variable}"' in sources or f"`{variable}" in sources, (one.code, variable)
        for part in (one.title, one.cause, one.fix):
            assert part and not part.startswith(" "), one.code
        assert not one.title.endswith("."), one.code


def test_a_command_gives_the_error_itself_so_that_its_code_is_told() -> None:
    for path in SOURCES:
        if "cli" in path.relative_to(ROOT).parts:
            assert "fail(str(error)," not in path.read_text(), path
            assert "fail(str(error))" not in path.read_text(), path


def test_a_catalogue_that_is_wrong_is_told() -> None:
    with pytest.raises(ValueError, match="fix"):
        list(read('[a]\ntitle = "t"\ncause = "c"', "x"))
    with pytest.raises(ValueError, match="no code"):
        list(read('[A-b]\ntitle = "t"\ncause = "c"\nfix = "f"', "x"))
    assert nearest("over_capacty")[0] == "over_capacity"


def test_there_is_a_fresh_page_for_each_code() -> None:
    expected = pages()
    there = {path.name: path.read_text() for path in PAGES.glob("*.md")}
    stale = sorted(
        name for name in expected.keys() | there.keys() if expected.get(name) != there.get(name)
    )
    assert stale == [], (
        "docs/errors is out of date: uv run --no-sync python tests/surface/test_errors.py"
    )


def explanations() -> list[Explanation]:
    """From the sources themselves, whichever distributions are installed."""
    found = []
    for home in HOMES:
        name = home.removeprefix("livepeer-")
        file = ROOT / "packages" / home / "src" / "livepeer" / name / FILE
        found += list(read(file.read_text(), home))
    return found


def pages() -> dict[str, str]:
    """Each page by its name."""
    made = {f"{one.code}.md": one.as_markdown() for one in explanations()}
    index = [
        "# Errors",
        "Each error of the SDK has a code that never changes: `error.code` in Python, `type` in "
        "the JSON of an answer, `[code]` in a finding of `livepeer check`. `livepeer explain CODE` "
        "prints what these pages say.",
    ]
    for home in HOMES:
        rows = [
            f"| [{one.code}]({one.code}.md) | {one.title} |"
            for one in explanations()
            if one.home == home
        ]
        table = "\n".join(["| Code | |", "| --- | --- |", *rows])
        index += [f"## {home}", table]
    made["README.md"] = "\n\n".join(index) + "\n"
    return made


if __name__ == "__main__":
    PAGES.mkdir(parents=True, exist_ok=True)
    for old in PAGES.glob("*.md"):
        old.unlink()
    for each, page in pages().items():
        (PAGES / each).write_text(page)
