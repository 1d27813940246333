"""An examination: a container found out about, then check after check."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from livepeer.runner.doctor.checks import (
    attack,
    batch,
    http,
    image,
    live,
    media,
    process,
    registration,
    schema,
    sse,
)
from livepeer.runner.doctor.container import Force, Patience
from livepeer.runner.doctor.diagnosis import GROUPS, UNSEEN, Check, Diagnosis, Examined
from livepeer.runner.doctor.finding import Finding, NotJudged, SubjectLost
from livepeer.runner.doctor.meeting import CannotExamine, Meeting
from livepeer.runner.doctor.subject import Subject
from livepeer.runner.targets.address import is_on_loopback
from livepeer.runner.targets.hosting import OpenTarget

__all__ = ["CHECKS", "CannotExamine", "Examination"]

CHECKS: tuple[Check, ...] = (
    *http.CHECKS,
    *batch.CHECKS,
    *schema.CHECKS,
    *sse.CHECKS,
    *live.CHECKS,
    *registration.CHECKS,
    *image.CHECKS,
    *attack.CHECKS,
    *media.CHECKS,
    *process.CHECKS,
)
CHECK_SECONDS = 900.0
"""No check takes longer, whatever it meets: a setup is a part of some."""
WHOLE_SECONDS = 3600.0
QUICK_WHOLE_SECONDS = 600.0
"""Nor do all of them; what is left then is not judged."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What is asked for. `only` and `skip` name groups or checks; `input` is the body of a valid
    job, `failing` of one that is valid and fails, `overlong` of one that outlasts the container's
    own limit; `quick` leaves out what takes over ten seconds;
    `attack` adds the abuse cases."""

    route: str | None = None
    input: bytes | None = None
    failing: bytes | None = None
    overlong: bytes | None = None
    capacity: int | None = None
    token: str | None = None
    only: Collection[str] = ()
    skip: Collection[str] = ()
    quick: bool = False
    attack: bool = False
    patience: Patience = field(default_factory=Patience)
    force: Force = field(default_factory=Force)
    seconds: float | None = None
    """For all checks; by default an hour, of the quick ones ten minutes."""

    def checks(self) -> list[Check]:
        """The chosen ones. Raises `CannotExamine` for a name that is neither group nor check."""
        known = {*GROUPS, *(check.id for check in CHECKS)}
        if unknown := sorted({*self.only, *self.skip} - known):
            raise CannotExamine(f"{', '.join(unknown)}: no such group or check; see --list")
        return [
            check
            for check in CHECKS
            if (not self.only or {check.id, check.group} & {*self.only})
            and not {check.id, check.group} & {*self.skip}
            and not (self.quick and check.slow)
            and (self.attack or check.group != "attack")
        ]

    async def of(
        self,
        target: OpenTarget,
        name: str | None = None,
        say: Callable[[Check], None] = lambda check: None,
    ) -> Diagnosis:
        """Examine it; `say` hears of each check before it begins. Raises `CannotExamine`."""
        checks = self.checks()
        if self.attack and not is_on_loopback(target.url):
            raise CannotExamine(
                f"--attack is for containers on loopback, and {target.url} is not: what it does "
                "would be an attack on others"
            )
        async with self._meeting().of(target) as subject:
            return await self._diagnosed(checks, subject, name or target.url, say)

    async def through(
        self,
        orchestrator: str,
        name: str,
        say: Callable[[Check], None] = lambda check: None,
    ) -> Diagnosis:
        """Examine an app or capability that an orchestrator offers, as one of its callers. Raises
        `CannotExamine`."""
        checks = self.checks()
        if self.attack:
            raise CannotExamine("--attack is for containers on loopback, not for an orchestrator's")
        async with self._meeting().through(orchestrator, name) as subject:
            return await self._diagnosed(checks, subject, f"{name} at {orchestrator}", say)

    @property
    def _seconds(self) -> float:
        if self.seconds is not None:
            return self.seconds
        return QUICK_WHOLE_SECONDS if self.quick else WHOLE_SECONDS

    def _meeting(self) -> Meeting:
        return Meeting(
            route=self.route,
            input=self.input,
            failing=self.failing,
            overlong=self.overlong,
            capacity=self.capacity,
            token=self.token,
            patience=self.patience,
            force=self.force,
        )

    async def _diagnosed(
        self, checks: list[Check], subject: Subject, name: str, say: Callable[[Check], None]
    ) -> Diagnosis:
        examined: list[Examined] = []
        lost: dict[str, str] = {}
        deadline = time.monotonic() + self._seconds
        for check in sorted(checks, key=lambda check: check.last):
            if check.need not in ("any", subject.kind):
                continue
            if check.by == "image" and subject.image is None and not self.only:
                continue  # of a class or a URL there is no image to speak of
            say(check)
            left = deadline - time.monotonic()
            found = await _examined(check, subject, left, self._seconds)
            # One silence is one problem, whichever checks met it; of the first that must be mended.
            seen = found.findings[0].seen if found.lost else ""
            if first := lost.get(seen):
                found = Examined(check, (), f"{seen}: see {first}", found.seconds)
            elif seen and check.level == "must":
                lost[seen] = check.id
            examined.append(found)
        return Diagnosis(name, subject.kind, examined, subject.facts)


async def _examined(check: Check, subject: Subject, left: float, whole: float) -> Examined:
    """`left`: of the `whole` seconds that all checks have."""
    began = time.monotonic()
    findings: Sequence[Finding] = ()
    reason, lost = None, False
    try:
        if not _is_seen(check, subject):
            raise NotJudged(UNSEEN[check.by])
        if left <= 0:
            raise NotJudged(_over(check, whole))
        async with asyncio.timeout(min(left, CHECK_SECONDS)):
            findings = await check.examine(subject)
    except NotJudged as error:
        reason = str(error)
    except SubjectLost as error:
        lost = True
        findings = [
            Finding(
                str(error),
                "answer every request: a connection that ends without an "
                "answer drops the capability",
            )
        ]
    except TimeoutError:
        if left < CHECK_SECONDS:
            reason = _over(check, whole)
        else:
            findings = [Finding(f"it was not over within {CHECK_SECONDS:g} s", "answer in time")]
    return Examined(check, tuple(findings), reason, time.monotonic() - began, lost)


def _over(check: Check, whole: float) -> str:
    return f"the {whole:g} s of the examination are over: --only {check.id} asks for this alone"


def _is_seen(check: Check, subject: Subject) -> bool:
    match check.by:
        case "caller":
            return True
        case "address":
            return subject.url is not None
        case "start":
            return subject.launch is not None
        case "image":
            return subject.image is not None
