"""A capability or an app of an orchestrator, called as its callers call it: free of charge only."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

from livepeer.runner.doctor.container import ContainerRoad, Heard, HttpContainer, Patience
from livepeer.runner.doctor.finding import NotJudged, SubjectLost
from livepeer.runner.doctor.payable import why_unpayable
from livepeer.runner.doctor.streams import StreamStarter, WatchedStream, started
from livepeer.runner.targets.offer import ForeignChannel, OrchestratorOffer, offer_of
from livepeer.runner.targets.reference import TargetError

NOT_SEEN = "not seen through an orchestrator: name the container's own URL"


class NotOffered(Exception):
    """The orchestrator does not offer it, or not for nothing; the message says which."""


@dataclass(frozen=True, slots=True)
class Offered:
    """How it is called there, and as what."""

    road: ContainerRoad
    streams: StreamStarter
    how: str


async def offered(
    orchestrator: str, name: str, session: aiohttp.ClientSession, patience: Patience
) -> Offered:
    """A live runner's app of that name, else a BYOC capability. Raises `NotOffered`."""
    try:
        offer = await offer_of(orchestrator, name, session)
    except TargetError as error:
        raise NotOffered(str(error)) from None
    if offer.price:
        reasons = "; ".join(await why_unpayable(offer, session))
        raise NotOffered(
            f"{name} has a price there ({offer.price}), and the doctor pays nothing: give it the "
            "container's own URL" + (f". Seen from outside, {reasons}" if reasons else "")
        )
    match offer.kind:
        case "capability":
            road = _JobRoad(offer, session)
            return Offered(road, _CapabilityStreams(road), "capability")
        case "single-shot":
            plain = _UrlRoad(orchestrator + offer.path, session)
            return Offered(plain, _NoStreams(), "single-shot live runner")
        case "persistent":
            asked = HttpContainer(_UrlRoad(orchestrator, session), patience)
            sessions = _SessionRoad(asked, offer, session)
            return Offered(sessions, sessions, "persistent live runner")


@dataclass(frozen=True, slots=True)
class _UrlRoad:
    """Requests below a URL. Orchestrators have certificates that nobody signed, and a caller who
    pays nothing sends nothing secret."""

    url: str
    session: aiohttp.ClientSession

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self.session.request(
            method, self.url + path, data=body, headers=headers, allow_redirects=False, ssl=False
        )


@dataclass(frozen=True, slots=True)
class _JobRoad:
    """Jobs below `/process/request`; there is no GET."""

    offer: OrchestratorOffer
    session: aiohttp.ClientSession

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if method != "POST" or path.startswith("/stream/"):
            raise NotJudged(NOT_SEEN)
        orchestrator = _UrlRoad(self.offer.orchestrator, self.session)
        given = {**headers, **self.offer.job()}
        return orchestrator.request("POST", f"/process/request{path}", body or b"", given)


@dataclass(frozen=True, slots=True)
class _CapabilityStreams:
    road: _JobRoad

    @asynccontextmanager
    async def start(
        self, container: HttpContainer, *, video: bool = False
    ) -> AsyncIterator[WatchedStream]:
        name = f"doctor-{secrets.token_hex(8)}"
        urls: dict[str, str] = {}

        async def ask() -> Heard:
            answer = await self._heard(
                "/ai/stream/start",
                b"{}",
                self.road.offer.job(name, video=video),
                container.patience,
            )
            urls.update(_channels(self.road.offer, answer.headers, headers=True))
            return answer

        async def stop(reason: str) -> Heard:
            headers = self.road.offer.job(request={"stream_id": name})
            return await self._heard(
                "/ai/stream/stop", reason.encode(), headers, container.patience
            )

        # The channels are there from the start's answer on.
        first = await ask()

        async def once() -> Heard:
            return first

        if not {"control", "events"} <= urls.keys():
            raise NotJudged(f"a stream does not start there: {first}")
        stream = WatchedStream(name, urls, once, stop, tls=False)
        async with started(stream):
            yield stream

    async def _heard(
        self, path: str, body: bytes, headers: Mapping[str, str], patience: Patience
    ) -> Heard:
        return await HttpContainer(
            _UrlRoad(self.road.offer.orchestrator, self.road.session), patience
        ).call("POST", path, body, {"Content-Type": "application/json", **headers}, patience.output)


@dataclass(frozen=True, slots=True)
class _SessionRoad:
    """A persistent runner: a session for each request, and one for the length of each stream,
    whose channels its app opens."""

    asked: HttpContainer
    offer: OrchestratorOffer
    session: aiohttp.ClientSession

    @asynccontextmanager
    async def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self._reserved() as app, app.request(method, path, body, headers) as answer:
            yield answer

    @asynccontextmanager
    async def start(
        self, container: HttpContainer, *, video: bool = False
    ) -> AsyncIterator[WatchedStream]:
        async with self._reserved() as road:
            app = HttpContainer(road, container.patience)
            patience = container.patience.output

            answer = await app.post("/stream/start", {"params": {}}, seconds=patience)
            told = answer.json()
            channels = told.get("channels") if isinstance(told, dict) else None
            if not answer.ok or not isinstance(channels, dict):
                raise NotJudged(f"a stream does not start there: {answer}")
            urls = _channels(self.offer, channels)
            if not {"control", "events"} <= urls.keys():
                raise NotJudged("its answer to the start names no channels")

            async def once() -> Heard:
                return answer

            async def stop(reason: str) -> Heard:
                return await app.post("/stream/stop", reason.encode(), seconds=patience)

            stream = WatchedStream(str(told.get("stream_id")), urls, once, stop, tls=False)
            async with started(stream):
                yield stream

    @asynccontextmanager
    async def _reserved(self) -> AsyncIterator[_UrlRoad]:
        """The app of a session. Raises `NotJudged` where there is no place."""
        answer = await self.asked.post(self.offer.path)
        place = self.offer.place(answer.json()) if answer.ok else None
        if place is None:
            raise NotJudged(f"no session could be reserved there: {answer}")
        try:
            yield _UrlRoad(place.app, self.session)
        finally:
            with suppress(SubjectLost):
                await HttpContainer(
                    _UrlRoad(place.control, self.session), self.asked.patience
                ).post("/stop")


class _NoStreams:
    def start(
        self, container: HttpContainer, *, video: bool = False
    ) -> AbstractAsyncContextManager[WatchedStream]:
        raise NotJudged("a single-shot runner has no streams")


def _channels(
    offer: OrchestratorOffer, named: Mapping[str, Any], *, headers: bool = False
) -> dict[str, str]:
    """Those that are named. Raises `NotJudged` for one that is elsewhere."""
    try:
        return offer.channels(named, headers=headers)
    except ForeignChannel as error:
        raise NotJudged(str(error)) from None
