"""A capability or an app of an orchestrator, called as its callers call it: free of charge only."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from livepeer.runner.doctor.container import Heard, HttpContainer, Patience, Road
from livepeer.runner.doctor.finding import NotJudged, SubjectLost
from livepeer.runner.doctor.streams import Stream, Streams, started

DIRECTORY_BYTES = 1 << 20
NOT_SEEN = "not seen through an orchestrator: name the container's own URL"
_CHANNELS = {
    "control": "X-Control-Url",
    "events": "X-Events-Url",
    "in": "X-Publish-Url",
    "out": "X-Subscribe-Url",
}
_PATH = re.compile(r"/(?:apps/[^/?#]{1,256}/(?:app|session)|run/[^/?#]{1,256})")
_VIDEO = {"enable_video_ingress": True, "enable_video_egress": True}


class NotOffered(Exception):
    """The orchestrator does not offer it, or not for nothing; the message says which."""


@dataclass(frozen=True, slots=True)
class Offered:
    """How it is called there. `capacity`: the places that are free, None where it is not told."""

    road: Road
    streams: Streams
    capacity: int | None
    how: str


async def offered(
    orchestrator: str, name: str, session: aiohttp.ClientSession, patience: Patience
) -> Offered:
    """A live runner's app of that name, else a BYOC capability. Raises `NotOffered`."""
    asked = HttpContainer(_Plain(orchestrator, session), patience)
    try:
        runner = await _runner(asked, name)
        if runner is None:
            return await _capability(asked, orchestrator, name, session)
    except SubjectLost as lost:
        raise NotOffered(f"{orchestrator}: {lost}") from None
    path = urlsplit(str(runner["url"])).path
    free = _whole(runner, "capacity_available")
    if runner.get("mode") != "persistent":
        road = _Plain(orchestrator + path, session)
        return Offered(road, _NoStreams(), free, "single-shot live runner")
    sessions = _Sessions(asked, orchestrator, path, session)
    return Offered(sessions, sessions, free, "persistent live runner")


async def _runner(asked: HttpContainer, name: str) -> dict[str, Any] | None:
    """Its entry in the discovery, one without a price."""
    answer = await asked.get("/discovery")
    listed = answer.json() if answer.ok and len(answer.body) <= DIRECTORY_BYTES else None
    found = [
        runner
        for entry in (listed if isinstance(listed, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get("runners"), list)
        for runner in entry["runners"]
        if isinstance(runner, dict)
        and name == runner.get("app")
        and _PATH.fullmatch(urlsplit(str(runner.get("url"))).path)
    ]
    free = [one for one in found if not _costs((one.get("price_info") or {}).get("price"))]
    if found and not free:
        raise NotOffered(f"{name} has a price there, and the doctor pays nothing: give it the URL")
    return free[0] if free else None


async def _capability(
    asked: HttpContainer, orchestrator: str, name: str, session: aiohttp.ClientSession
) -> Offered:
    nobody = base64.b64encode(b'{"addr": "", "sig": ""}').decode()
    headers = {"Livepeer-Eth-Address": nobody, "Livepeer-Capability": name}
    answer = await asked.call("GET", "/process/token", headers=headers)
    told = answer.json()
    if not answer.ok or not isinstance(told, dict):
        raise NotOffered(f"{orchestrator} answered {answer} for a token: is it an orchestrator?")
    if not told.get("available_capacity"):
        raise NotOffered(f"{orchestrator} offers neither an app nor a capability {name!r} now")
    if _costs((told.get("price") or {}).get("pricePerUnit")):
        raise NotOffered(f"{name} has a price there, and the doctor pays nothing: give it the URL")
    road = _CapabilityRoad(orchestrator, name, session)
    return Offered(road, _CapabilityStreams(road), _whole(told, "available_capacity"), "capability")


def _costs(price: object) -> bool:
    if isinstance(price, str):
        with suppress(ValueError):
            price = float(price)
    return bool(price) if isinstance(price, int | float) else price is not None


def _whole(told: Mapping[str, Any], key: str) -> int | None:
    found = told.get(key)
    return found if isinstance(found, int) and found > 0 else None


@dataclass(frozen=True, slots=True)
class _Plain:
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
class _CapabilityRoad:
    """Jobs below `/process/request`; there is no GET."""

    url: str
    name: str
    session: aiohttp.ClientSession

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if method != "POST" or path.startswith("/stream/"):
            raise NotJudged(NOT_SEEN)
        return self.post(f"/process/request{path}", body or b"", {**headers, **self.job()})

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return _Plain(self.url, self.session).request("POST", path, body, headers)

    def job(
        self, id: str | None = None, request: Mapping[str, Any] | None = None, video: bool = False
    ) -> dict[str, str]:
        """The envelope, unsigned: offchain any will do."""
        envelope = {
            "id": id or secrets.token_hex(8),
            "request": json.dumps(request or {}),
            "parameters": json.dumps(_VIDEO if video else {}),
            "capability": self.name,
            "sender": "",
            "sig": "",
            "timeout_seconds": 120,
        }
        return {"Livepeer": base64.b64encode(json.dumps(envelope).encode()).decode()}


@dataclass(frozen=True, slots=True)
class _CapabilityStreams:
    road: _CapabilityRoad

    @asynccontextmanager
    async def start(
        self, container: HttpContainer, *, video: bool = False
    ) -> AsyncIterator[Stream]:
        name = f"doctor-{secrets.token_hex(8)}"
        urls: dict[str, str] = {}

        async def ask() -> Heard:
            answer = await self._heard(
                "/ai/stream/start", b"{}", self.road.job(name, video=video), container.patience
            )
            for key, header in _CHANNELS.items():
                if (url := answer.headers.get(header)) is not None:
                    urls[key] = _of_the_orchestrator(url, self.road.url)
            return answer

        async def stop(reason: str) -> Heard:
            headers = self.road.job(request={"stream_id": name})
            return await self._heard(
                "/ai/stream/stop", reason.encode(), headers, container.patience
            )

        # The channels are there from the start's answer on.
        first = await ask()

        async def once() -> Heard:
            return first

        if not {"control", "events"} <= urls.keys():
            raise NotJudged(f"a stream does not start there: {first}")
        stream = Stream(name, urls, once, stop, tls=False)
        async with started(stream):
            yield stream

    async def _heard(
        self, path: str, body: bytes, headers: Mapping[str, str], patience: Patience
    ) -> Heard:
        return await HttpContainer(_Plain(self.road.url, self.road.session), patience).call(
            "POST", path, body, {"Content-Type": "application/json", **headers}, patience.output
        )


@dataclass(frozen=True, slots=True)
class _Sessions:
    """A persistent runner: a session for each request, and one for the length of each stream,
    whose channels its app opens."""

    asked: HttpContainer
    orchestrator: str
    path: str
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
    ) -> AsyncIterator[Stream]:
        async with self._reserved() as road:
            app = HttpContainer(road, container.patience)
            patience = container.patience.output

            answer = await app.post("/stream/start", {"params": {}}, seconds=patience)
            told = answer.json()
            channels = told.get("channels") if isinstance(told, dict) else None
            if not answer.ok or not isinstance(channels, dict):
                raise NotJudged(f"a stream does not start there: {answer}")
            urls = {
                key: _of_the_orchestrator(channels[key], self.orchestrator)
                for key in _CHANNELS
                if isinstance(channels.get(key), str)
            }
            if not {"control", "events"} <= urls.keys():
                raise NotJudged("its answer to the start names no channels")

            async def once() -> Heard:
                return answer

            async def stop(reason: str) -> Heard:
                return await app.post("/stream/stop", reason.encode(), seconds=patience)

            stream = Stream(str(told.get("stream_id")), urls, once, stop, tls=False)
            async with started(stream):
                yield stream

    @asynccontextmanager
    async def _reserved(self) -> AsyncIterator[_Plain]:
        """The app of a session. Raises `NotJudged` where there is no place."""
        place = await self.asked.post(self.path)
        told = place.json()
        if not place.ok or not isinstance(told, dict):
            raise NotJudged(f"no session could be reserved there: {place}")
        app, control = (urlsplit(str(told.get(key))).path for key in ("app_url", "control_url"))
        try:
            yield _Plain(self.orchestrator + app, self.session)
        finally:
            with suppress(SubjectLost):
                await self.asked.post(f"{control}/stop")


class _NoStreams:
    def start(
        self, container: HttpContainer, *, video: bool = False
    ) -> AbstractAsyncContextManager[Stream]:
        raise NotJudged("a single-shot runner has no streams")


def _of_the_orchestrator(url: str, orchestrator: str) -> str:
    """A channel, where it is at the host that was called. Raises `NotJudged`."""
    there, here = urlsplit(url), urlsplit(orchestrator)
    if (there.scheme, there.netloc) != (here.scheme, here.netloc):
        raise NotJudged(f"a channel is at {there.netloc}, and not at the orchestrator")
    return url
