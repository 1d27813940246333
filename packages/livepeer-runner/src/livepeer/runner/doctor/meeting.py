"""What there is to know of a container before it is examined: its kind, its input, its places."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

from livepeer.runner.doctor.container import DirectRoad, Force, HttpContainer, Patience
from livepeer.runner.doctor.finding import NotJudged, SubjectLost
from livepeer.runner.doctor.inputs import InputSchema
from livepeer.runner.doctor.orchestrated import NotOffered, offered
from livepeer.runner.doctor.streams import OwnStreams
from livepeer.runner.doctor.subject import Subject
from livepeer.runner.targets.address import address_towards
from livepeer.runner.targets.hosting import OpenTarget
from livepeer.trickle import TrickleServer


class CannotExamine(Exception):
    """No examination is possible; the message says why and what to do."""

    code = "cannot_examine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """What is given goes before what the container tells of itself."""

    route: str | None
    input: bytes | None
    failing: bytes | None
    overlong: bytes | None
    capacity: int | None
    token: str | None
    patience: Patience
    force: Force

    @asynccontextmanager
    async def of(self, target: OpenTarget) -> AsyncIterator[Subject]:
        """A container at its own address. Raises `CannotExamine`."""
        host = target.host or address_towards(target.url)
        async with (
            self._session() as session,
            TrickleServer(host=host, autocreate=False) as server,
        ):
            bare = HttpContainer(DirectRoad(target.url, session, self.token), self.patience)
            try:
                document = await _document(bare)
                kind = await self._kind(bare, document, target.url)
                capacity = self.capacity or await _capacity(bare)
            except SubjectLost as lost:
                raise CannotExamine(f"{target.url} cannot be examined: {lost}") from None
            yield Subject(
                road=bare.road,
                patience=self.patience,
                url=target.url,
                kind=kind,
                route=self._route(),
                streams=OwnStreams(server),
                session=session,
                input=self._input(document),
                failing=self.failing,
                overlong=self.overlong,
                document=document,
                capacity=capacity,
                token=self.token,
                process=target.process,
                launch=target.launch,
                host=host,
                image=target.image,
                force=self.force,
            )

    @asynccontextmanager
    async def through(self, orchestrator: str, name: str) -> AsyncIterator[Subject]:
        """What an orchestrator offers under a name. Raises `CannotExamine`."""
        async with self._session() as session:
            try:
                offer = await offered(orchestrator, name, session, self.patience)
                bare = HttpContainer(offer.road, self.patience)
                document = await _document(bare)
                kind = await self._kind(bare, document, name)
            except (NotOffered, NotJudged, SubjectLost) as error:
                raise CannotExamine(str(error)) from None
            yield Subject(
                road=offer.road,
                patience=self.patience,
                url=None,
                kind=kind,
                route=self._route(),
                streams=offer.streams,
                session=session,
                input=self._input(document),
                failing=self.failing,
                overlong=self.overlong,
                document=document,
                capacity=self.capacity,
                token=None,
                process=None,
                launch=None,
                host=None,
                image=None,
                force=self.force,
                facts={"offered as": offer.how},
            )

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, connect=self.patience.call),
            max_line_size=1 << 16,
            trust_env=False,
        )

    def _route(self) -> str:
        return "/" + (self.route or "predict").lstrip("/")

    async def _kind(
        self, bare: HttpContainer, document: Mapping[str, Any] | None, name: str
    ) -> str:
        told = (document or {}).get("type")
        if told in ("batch", "live"):
            return str(told)
        if self.route is not None:
            return "batch"
        # A start that is no JSON begins nothing; only a container with that route says so.
        with suppress(NotJudged):
            answer = await bare.post("/stream/start", b'{"')
            if answer.status not in (404, 405, 501):
                return "live"
        raise CannotExamine(
            f"{name} has neither /schema nor /stream/start: say --route with the path of its jobs, "
            "and --input with a valid one"
        )

    def _input(self, document: Mapping[str, Any] | None) -> bytes | None:
        if self.input is not None or not document:
            return self.input
        if "example" in document:
            return json.dumps(document["example"]).encode()
        schema = document.get("input")
        made = InputSchema(schema).first() if isinstance(schema, dict) else None
        return None if made is None else json.dumps(made).encode()


async def _document(bare: HttpContainer) -> Mapping[str, Any] | None:
    answer = await bare.post("/schema")
    content = answer.json() if answer.ok else None
    return content if isinstance(content, dict) else None


async def _capacity(bare: HttpContainer) -> int | None:
    for path in ("/health", "/"):
        with suppress(SubjectLost):
            content = (await bare.get(path)).json()
            told = content.get("capacity") if isinstance(content, dict) else None
            if isinstance(told, int) and told > 0:
                return told
    return None
