"""The container that is examined, with what is known of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from livepeer.runner.doctor.container import MOST_BYTES, DirectRoad, Force, Heard, HttpContainer
from livepeer.runner.doctor.finding import NotJudged, SubjectLost
from livepeer.runner.doctor.streams import StreamStarter
from livepeer.runner.targets.image_container import TargetImage
from livepeer.runner.targets.instance import Launch, TargetProcess

Known = TypeVar("Known")

UNKNOWN_STREAM = "doctor-never-started"


@dataclass(frozen=True)
class Subject(HttpContainer):
    """One container. `url` is its own, None where it is seen through an orchestrator; `input` is
    the body of a valid job, `failing` of one that fails, `overlong` of one that outlasts the
    container's own limit, None where nobody knows one; `capacity` is
    None where it is not told. Where the doctor started it, there is a `process`, `launch` starts it
    once more, and `host` is the address of this machine that it can call."""

    url: str | None
    kind: str
    route: str
    streams: StreamStarter
    session: aiohttp.ClientSession
    input: bytes | None
    failing: bytes | None
    overlong: bytes | None
    document: Mapping[str, Any] | None
    capacity: int | None
    token: str | None
    process: TargetProcess | None
    launch: Launch | None
    host: str | None
    image: TargetImage | None
    force: Force
    facts: dict[str, Any] = field(default_factory=dict)
    """What was learnt on the way, for the report."""
    _known: dict[Any, Any] = field(default_factory=dict)
    _lost: dict[Any, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Its own URL; checks that need it run only where there is one."""
        assert self.url is not None
        return self.url

    def at(self, url: str, token: str | None = None) -> HttpContainer:
        """Another container of the same kind, asked directly."""
        road = DirectRoad(url, self.session, token)
        return HttpContainer(road, self.patience)

    async def once(self, what: Callable[[Subject], Awaitable[Known]]) -> Known:
        """What `what` gives of this container; several checks look at it, one asks. That it gave
        nothing is known then too."""
        if what in self._lost:
            raise SubjectLost(self._lost[what])
        if what not in self._known:
            try:
                self._known[what] = await what(self)
            except SubjectLost as lost:
                self._lost[what] = str(lost)
                raise
        known: Known = self._known[what]
        return known

    async def job(self, body: bytes | None = None) -> Heard:
        """A job with a valid input, unless another is given. Raises `NotJudged`. Where a valid one
        was waited for in vain, no other is waited for as long."""
        if body is None:
            body = self.valid_input()
        seconds = self.patience.call if Subject.job in self._lost else self.patience.job
        return await self.post(self.route, body, seconds=seconds, most=MOST_BYTES)

    def valid_input(self) -> bytes:
        if self.input is None:
            raise NotJudged("no valid input is known: say --input '{...}'")
        return self.input

    async def first_job(self) -> Heard:
        """The answer to one valid job, asked for once. Raises `NotJudged` where it is refused."""
        return await self.once(Subject.job)

    async def warm_job(self) -> Heard:
        """The answer to a second one: it takes as long as those to come. Raises `NotJudged`."""
        await self.good_job()
        return await self.once(_second_job)

    async def good_job(self) -> Heard:
        """The same where it succeeded. Raises `NotJudged`."""
        try:
            answer = await self.first_job()
        except SubjectLost:
            raise NotJudged("a valid job had no answer: see batch.answers") from None
        if not answer.ok:
            raise NotJudged(f"a valid job was answered {answer.status}: see batch.answers")
        return answer


async def _second_job(subject: Subject) -> Heard:
    return await subject.job()
