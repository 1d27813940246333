"""An examination for people: a line for each check, then what is to be mended."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from livepeer.runner.doctor.diagnosis import Diagnosis, Examined
from livepeer.trickle.text import printable

MARKS = {"passed": ("ok", "green"), "not judged": ("--", "dim")}


def lines(diagnosis: Diagnosis) -> Iterator[Text]:
    """The whole report; colours only show on a terminal. What could not be judged comes last, by
    its reason."""
    reasons: dict[str, list[str]] = {}
    for one in diagnosis.examined:
        if one.reason is None:
            yield line(one)
        else:
            reasons.setdefault(one.reason, []).append(one.check.id)
    for reason, ids in reasons.items():
        mark, style = MARKS["not judged"]
        text = f"{mark:>6}  {', '.join(ids)}\n{'':8}{printable(reason)}"
        yield Text(text, style)
    if diagnosis.facts:
        facts = ", ".join(f"{name} {value}" for name, value in diagnosis.facts.items())
        yield Text(f"\n{printable(facts)}", "dim")
    must, should = diagnosis.count("problem", "must"), diagnosis.count("problem", "should")
    judged = len(diagnosis.examined) - diagnosis.count("not judged")
    text = f"\n{judged} checks: {diagnosis.count('passed')} passed, {must} must be mended, "
    yield Text(text + f"{should} should; {diagnosis.count('not judged')} could not be judged")


def line(one: Examined) -> Text:
    """One check, with its findings below."""
    mark, style = MARKS.get(one.outcome, (one.check.level, "red"))
    if one.outcome == "problem" and one.check.level == "should":
        style = "yellow"
    text = Text.assemble((f"{mark:>6}", style), f"  {one.check.id:<27} {one.check.title}")
    for finding in one.findings:
        text.append(f"\n{'':8}seen: {printable(finding.seen)}")
        text.append(f"\n{'':8}fix:  {finding.fix}  (specs/{one.check.clause})")
    return text
