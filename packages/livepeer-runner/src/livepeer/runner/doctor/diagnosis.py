"""What a check is, and what an examination comes to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from livepeer.runner.doctor.finding import Finding
from livepeer.runner.doctor.subject import Subject

CheckLevel = Literal["must", "should"]
"""must: go-livepeer breaks or loses money without it; should: its callers or operators suffer."""
Need = Literal["any", "batch", "live"]
"""What kind of container a check can be made on."""
By = Literal["caller", "address", "start", "image"]
"""What a check takes: what any caller sees, also through an orchestrator; the container's own
address; that the doctor starts it by itself; an image."""
GROUPS = ("http", "batch", "schema", "sse", "live", "registration", "image", "process", "attack")
UNSEEN: dict[By, str] = {
    "address": "not seen through an orchestrator: name the container's own URL",
    "start": "only seen where the doctor starts it: name its class or its image",
    "image": "only seen of an image: name it",
}


Examine = Callable[[Subject], Awaitable[Sequence[Finding]]]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a container has to do. `clause` is an anchor in `specs/`, `slow` one that
    takes over ten seconds, `last` one that ends the target."""

    id: str
    title: str
    level: CheckLevel
    need: Need
    examine: Examine
    by: By = "address"
    slow: bool = False
    last: bool = False

    @property
    def group(self) -> str:
        return self.id.partition(".")[0]

    @property
    def clause(self) -> str:
        """Where `specs/` says so, and why."""
        return f"conformance.md#{self.id.replace('.', '')}"


@dataclass(frozen=True, slots=True)
class Examined:
    """What became of one check; `reason` says why it was not judged, `lost` that its finding is a
    request without an answer."""

    check: Check
    findings: tuple[Finding, ...] = ()
    reason: str | None = None
    seconds: float = 0.0
    lost: bool = False

    @property
    def outcome(self) -> Literal["passed", "problem", "not judged"]:
        if self.findings:
            return "problem"
        return "passed" if self.reason is None else "not judged"


@dataclass(slots=True)
class Diagnosis:
    """What an examination came to, check by check."""

    target: str
    kind: str
    """`batch` or `live`."""
    examined: list[Examined] = field(default_factory=list)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was learnt on the way: an image's size, its platform, ..."""

    @property
    def problems(self) -> list[str]:
        """A line for each finding, those that must be mended first."""
        ordered = sorted(self.examined, key=lambda one: one.check.level)
        return [
            f"{one.check.id} ({one.check.level}): {finding.seen}: {finding.fix}"
            for one in ordered
            for finding in one.findings
        ]

    def count(self, outcome: str, level: CheckLevel | None = None) -> int:
        """How many checks came to this."""
        return sum(
            one.outcome == outcome and level in (None, one.check.level) for one in self.examined
        )

    def as_json(self) -> dict[str, Any]:
        """The document of `specs/schemas/doctor.json`."""
        return {
            "protocol": "v1",
            "target": self.target,
            "type": self.kind,
            "facts": dict(self.facts),
            "summary": {
                "passed": self.count("passed"),
                "must": self.count("problem", "must"),
                "should": self.count("problem", "should"),
                "not_judged": self.count("not judged"),
            },
            "checks": [
                {
                    "id": one.check.id,
                    "title": one.check.title,
                    "level": one.check.level,
                    "clause": one.check.clause,
                    "outcome": one.outcome.replace(" ", "_"),
                    "findings": [{"seen": each.seen, "fix": each.fix} for each in one.findings],
                    **({} if one.reason is None else {"reason": one.reason}),
                    "seconds": round(one.seconds, 3),
                }
                for one in self.examined
            ],
        }
