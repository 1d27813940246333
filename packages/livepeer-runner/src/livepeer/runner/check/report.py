"""Findings for people: a line for each, and its fix below."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from livepeer.runner.check.findings import Findings, SourceFinding
from livepeer.trickle.text import printable

STYLES = {"error": "red", "warning": "yellow", "note": "dim"}


def lines(findings: Findings) -> Iterator[Text]:
    """The whole report; colours only show on a terminal."""
    for one in findings.found:
        yield line(one)
    if findings.ok and findings.imported:
        yield Text("nothing is wrong with it: `livepeer predict` and `livepeer serve` run it")
        return
    counts = [
        f"{len(found)} {name if len(found) == 1 else f'{name}s'}"
        for name, found in (("error", findings.errors), ("warning", findings.warnings))
    ]
    first = findings.found[0].code if findings.found else None
    more = f"; livepeer explain {first} says more" if first else ""
    judged = "" if findings.imported else "; only its text was read: it was not imported"
    yield Text(f"{', '.join(counts)}{judged}{more}")


def line(one: SourceFinding) -> Text:
    """One finding, as editors and terminals open it: `pipeline.py:12:5: error: ...`."""
    text = Text.assemble(
        f"{one.place}: ", (one.level, STYLES[one.level]), f": {printable(one.message)} [{one.code}]"
    )
    text.append(f"\n    fix: {printable(one.fix)}")
    return text


def plain(one: SourceFinding) -> str:
    """The same without colours."""
    return line(one).plain
