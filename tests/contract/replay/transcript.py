"""The recorded scenarios as objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).resolve().parents[3] / "specs" / "fixtures" / "byoc"

#: One step of a scenario, as the README of the fixtures describes it.
Step = dict[str, Any]


class Mismatch(AssertionError):
    """What happened is not what the transcript says."""


@dataclass(frozen=True)
class Scenario:
    """One recorded exchange; `steps` are in order and are not to be changed."""

    name: str
    group: str
    about: str
    steps: list[Step]
    slow: bool = False
    racy: bool = False
    reference_bug: bool = False
    gateway: str | None = None
    capability: str | None = None
    registration: dict[str, Any] | None = None
    patterns: dict[str, str] = field(default_factory=dict)
    #: Whatever else the file says about this scenario.
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Transcript:
    """One file: its scenarios and what holds for all of them."""

    name: str
    scenarios: tuple[Scenario, ...]
    silence_s: float
    secret: str
    raw: dict[str, Any]

    def __getitem__(self, name: str) -> Scenario:
        for scenario in self.scenarios:
            if scenario.name == name:
                return scenario
        raise KeyError(f"{self.name} has no scenario {name!r}")


@lru_cache
def load(name: str) -> Transcript:
    """Reads one file by its bare name, such as `"batch"`."""
    raw = json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))
    return Transcript(
        name=name,
        scenarios=tuple(scenario_from(item) for item in raw["scenarios"]),
        silence_s=raw.get("silence_s", 0.3),
        secret=raw.get("orchestrator", {}).get("secret", ""),
        raw=raw,
    )


def scenario_from(item: dict[str, Any]) -> Scenario:
    """One entry of a file's `scenarios`."""
    known = {key: item[key] for key in item if key in Scenario.__dataclass_fields__}
    return Scenario(**known, extra={key: item[key] for key in item if key not in known})


def told(outcome: Mapping[Any, object]) -> str:
    """Every mismatch of many scenarios that were played together, by name; "" where there is none.

    One test for all that are played together, not one for a scenario: tests of one file run on
    several workers, each of which would play them all.
    """
    return "\n".join(
        f"{'-'.join(name) if isinstance(name, tuple) else name}: {result!r}"
        for name, result in outcome.items()
        if isinstance(result, Exception)
    )
