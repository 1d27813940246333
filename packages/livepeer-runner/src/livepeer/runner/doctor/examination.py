"""An examination: a container found out about, then check after check."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from livepeer.runner.doctor.checks import attack, batch, http, live, process, schema, sse
from livepeer.runner.doctor.container import HttpContainer, Patience
from livepeer.runner.doctor.diagnosis import GROUPS, Check, Diagnosis, Examined
from livepeer.runner.doctor.finding import Finding, NotJudged, SubjectLost
from livepeer.runner.doctor.inputs import first
from livepeer.runner.doctor.streams import Streams
from livepeer.runner.doctor.subject import Subject
from livepeer.runner.targets.address import address_towards, is_on_loopback
from livepeer.runner.targets.hosting import OpenTarget
from livepeer.trickle import TrickleServer

CHECKS: tuple[Check, ...] = (
    *http.CHECKS,
    *batch.CHECKS,
    *schema.CHECKS,
    *sse.CHECKS,
    *live.CHECKS,
    *attack.CHECKS,
    *process.CHECKS,
)
CHECK_SECONDS = 300.0
"""No check takes longer, whatever it meets."""


class CannotExamine(Exception):
    """No examination is possible; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What is asked for. `only` and `skip` name groups or checks; `input` is the body of a valid
    job; `quick` leaves out what takes over ten seconds; `attack` adds the abuse cases."""

    route: str | None = None
    input: bytes | None = None
    capacity: int | None = None
    token: str | None = None
    only: Collection[str] = ()
    skip: Collection[str] = ()
    quick: bool = False
    attack: bool = False
    patience: Patience = field(default_factory=Patience)

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
        async with _subject(self, target) as subject:
            diagnosis = Diagnosis(name or target.url, subject.kind)
            for check in sorted(checks, key=lambda check: check.last):
                if check.need not in ("any", subject.kind, "process"):
                    continue
                if check.need == "process" and subject.process is None:
                    continue
                say(check)
                diagnosis.examined.append(await _examined(check, subject))
        return diagnosis


async def _examined(check: Check, subject: Subject) -> Examined:
    began = time.monotonic()
    findings: Sequence[Finding] = ()
    reason = None
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            findings = await check.examine(subject)
    except NotJudged as error:
        reason = str(error)
    except SubjectLost as error:
        findings = [
            Finding(
                str(error),
                "answer every request: a connection that ends without an "
                "answer drops the capability",
            )
        ]
    except TimeoutError:
        findings = [Finding(f"it was not over within {CHECK_SECONDS:g} s", "answer in time")]
    return Examined(check, tuple(findings), reason, time.monotonic() - began)


@asynccontextmanager
async def _subject(wanted: Examination, target: OpenTarget) -> AsyncIterator[Subject]:
    limit = aiohttp.ClientTimeout(total=None, connect=wanted.patience.call)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        TrickleServer(host=address_towards(target.url), autocreate=False) as server,
        aiohttp.ClientSession(connector=connector, timeout=limit, max_line_size=1 << 16) as session,
    ):
        bare = HttpContainer(target.url, session, wanted.patience, wanted.token)
        try:
            document = await _document(bare)
            kind = await _kind(bare, wanted, document)
            capacity = wanted.capacity or await _capacity(bare)
        except SubjectLost as lost:
            raise CannotExamine(f"{target.url} cannot be examined: {lost}") from None
        yield Subject(
            url=target.url,
            kind=kind,
            route="/" + (wanted.route or "predict").lstrip("/"),
            session=session,
            streams=Streams(server),
            patience=wanted.patience,
            token=wanted.token,
            input=wanted.input if wanted.input is not None else _input(document),
            document=document,
            capacity=capacity,
            process=target.process,
        )


async def _document(subject: HttpContainer) -> Mapping[str, Any] | None:
    answer = await subject.post("/schema")
    content = answer.json() if answer.ok else None
    return content if isinstance(content, dict) else None


async def _kind(
    subject: HttpContainer, wanted: Examination, document: Mapping[str, Any] | None
) -> str:
    told = (document or {}).get("type")
    if told in ("batch", "live"):
        return str(told)
    if wanted.route is not None:
        return "batch"
    # A start that is no JSON begins nothing; only a container with that route says so.
    answer = await subject.post("/stream/start", b'{"')
    if answer.status not in (404, 405, 501):
        return "live"
    raise CannotExamine(
        f"{subject.url} has neither /schema nor /stream/start: say --route with the path of its "
        "jobs, and --input with a valid one"
    )


async def _capacity(subject: HttpContainer) -> int | None:
    for path in ("/health", "/"):
        with suppress(SubjectLost):
            content = (await subject.get(path)).json()
            told = content.get("capacity") if isinstance(content, dict) else None
            if isinstance(told, int) and told > 0:
                return told
    return None


def _input(document: Mapping[str, Any] | None) -> bytes | None:
    if not document:
        return None
    if "example" in document:
        return json.dumps(document["example"]).encode()
    schema_ = document.get("input")
    made = first(schema_) if isinstance(schema_, dict) else None
    return None if made is None else json.dumps(made).encode()
