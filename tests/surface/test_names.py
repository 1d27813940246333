"""One word, one thing: a class has its name alone in the three distributions."""

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
BOTH = {"CertificateError", "FieldError", "PipelineError", "ProtocolError"}
"""The field's word for each side, and users import one side (specs/decisions.md)."""


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in ROOT.glob("packages/*/src/**/*.py"):
        for name in re.findall(r"^ *class _?(\w+)[(:]", file.read_text("utf-8"), re.MULTILINE):
            places[name].append(str(file.relative_to(ROOT)))
    assert len(places) > 500
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert set(twice) == BOTH, {name: twice[name] for name in set(twice) - BOTH}
