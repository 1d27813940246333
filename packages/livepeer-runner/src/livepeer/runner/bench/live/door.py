"""How a stream is started and ended: at a container, with channels of our own; through an
orchestrator, with its channels."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp

from livepeer.runner.bench.request import beginning
from livepeer.runner.targets.offer import ForeignChannel, OrchestratorOffer, SessionPlace
from livepeer.runner.targets.reference import TargetError
from livepeer.trickle import TrickleServer
from livepeer.trickle.text import printable
from livepeer.trickle.types import TLS

START_SECONDS = 30.0
STOP_SECONDS = 30.0
LONGEST_ANSWER = 1 << 16
SUFFIXES = {
    "subscribe_url": "in",
    "publish_url": "out",
    "events_url": "events",
    "control_url": "control",
    "data_url": "data",
}
"""Channels by their key in the body of a start."""
MIME_TYPES = {"in": "video/MP2T", "out": "video/MP2T", "data": "application/jsonl"}
"""Of those that are not `application/json`."""


class StreamRefused(Exception):
    """The stream was not started; the message says what was answered."""


@dataclass(frozen=True, slots=True)
class BenchChannels:
    """Where the caller of a stream writes and reads."""

    input: str
    output: str
    events: str
    control: str
    data: str | None = None
    """Of records; not every target has one."""
    tls: TLS = True


class StreamDoor(Protocol):
    """Starts and stops streams of one target."""

    async def start(self, id: str, params: Mapping[str, Any]) -> BenchChannels:
        """Raises `StreamRefused`."""

    async def stop(self, id: str) -> None:
        """Raises nothing: what does not answer is left alone."""


@dataclass(frozen=True, slots=True)
class ContainerDoor:
    """A container, called as its orchestrator would, with channels on a trickle server of ours."""

    url: str
    session: aiohttp.ClientSession
    server: TrickleServer

    async def start(self, id: str, params: Mapping[str, Any]) -> BenchChannels:
        body: dict[str, Any] = {"gateway_request_id": id, "params": dict(params)}
        for key, suffix in SUFFIXES.items():
            self.server.create(f"{id}-{suffix}", MIME_TYPES.get(suffix, "application/json"))
            body[key] = self.server.channel_url(f"{id}-{suffix}")
        await started(self.session, f"{self.url}/stream/start", json.dumps(body).encode(), id)
        return BenchChannels(**{_NAMES[suffix]: body[key] for key, suffix in SUFFIXES.items()})

    async def stop(self, id: str) -> None:
        await stopped(self.session, f"{self.url}/stream/stop", id)
        for suffix in SUFFIXES.values():
            await self.server.close_channel(f"{id}-{suffix}")


_NAMES = {
    "in": "input",
    "out": "output",
    "events": "events",
    "control": "control",
    "data": "data",
}

Pay = Callable[[OrchestratorOffer], Awaitable[Mapping[str, str]]]
"""The headers with which one call of an offer is paid."""


@dataclass(frozen=True, slots=True)
class CapabilityDoor:
    """A BYOC capability: the orchestrator makes the channels, and names them in headers."""

    offer: OrchestratorOffer
    session: aiohttp.ClientSession
    pay: Pay | None = None

    async def start(self, id: str, params: Mapping[str, Any]) -> BenchChannels:
        answer = await started(
            self.session,
            f"{self.offer.orchestrator}/ai/stream/start",
            json.dumps({"params": dict(params)}).encode(),
            id,
            {
                **self.offer.job(id, video=True, data=True),
                **await _paid(self.pay, self.offer),
            },
        )
        return _channels(self.offer, answer.headers, headers=True)

    async def stop(self, id: str) -> None:
        headers = self.offer.job(request={"stream_id": id})
        await stopped(self.session, f"{self.offer.orchestrator}/ai/stream/stop", id, headers)


@dataclass(frozen=True, slots=True)
class AppDoor:
    """A live runner's app: a session for each stream, whose app names the channels."""

    offer: OrchestratorOffer
    session: aiohttp.ClientSession
    pay: Pay | None = None
    places: dict[str, SessionPlace] = field(default_factory=dict)

    async def start(self, id: str, params: Mapping[str, Any]) -> BenchChannels:
        place = self.places[id] = await self._reserve()
        try:
            body = json.dumps({"params": dict(params)}).encode()
            answer = await started(self.session, f"{place.app}/stream/start", body, id)
            told = answer.body.get("channels")
            return _channels(self.offer, told if isinstance(told, dict) else {})
        except StreamRefused:
            await self.stop(id)
            raise

    async def stop(self, id: str) -> None:
        if (place := self.places.pop(id, None)) is not None:
            await stopped(self.session, f"{place.app}/stream/stop", id)
            await stopped(self.session, f"{place.control}/stop", id)

    @asynccontextmanager
    async def reserved(self) -> AsyncIterator[SessionPlace]:
        """A session for calls. Raises `TargetError`."""
        try:
            place = await self._reserve()
        except StreamRefused as error:
            raise TargetError(f"no session of {self.offer.name}: {error}") from None
        try:
            yield place
        finally:
            await asyncio.shield(stopped(self.session, f"{place.control}/stop", "calls"))

    async def _reserve(self) -> SessionPlace:
        """Raises `StreamRefused`."""
        url = self.offer.orchestrator + self.offer.path
        headers = await _paid(self.pay, self.offer)
        answer = await started(self.session, url, b"", "", headers)
        place = self.offer.place(answer.body)
        if place is None:
            raise StreamRefused("its reservation names no app")
        return place


async def _paid(pay: Pay | None, offer: OrchestratorOffer) -> Mapping[str, str]:
    return {} if pay is None else await pay(offer)


def _channels(
    offer: OrchestratorOffer, named: Mapping[str, Any], *, headers: bool = False
) -> BenchChannels:
    """Where all but that of records are there, and at the host that was called. Raises
    `StreamRefused`."""
    try:
        urls = offer.channels(named, headers=headers)
    except ForeignChannel as error:
        raise StreamRefused(str(error)) from None
    if missing := [name for name in _NAMES if name not in urls and name != "data"]:
        raise StreamRefused(f"its start was answered without a channel for {missing[0]!r}")
    return BenchChannels(**{_NAMES[name]: url for name, url in urls.items()}, tls=False)


@dataclass(frozen=True, slots=True)
class StartAnswer:
    """The answer to a start; `body` is its JSON, empty if it is not an object."""

    headers: Mapping[str, str]
    body: Mapping[str, Any]


async def started(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    id: str,
    headers: Mapping[str, str] | None = None,
) -> StartAnswer:
    """Parse the answer to a start. Raises `StreamRefused`."""
    given = {"Content-Type": "application/json", **(headers or {})}
    if id:
        given["X-Stream-Id"] = id
    try:
        async with session.post(
            url,
            data=body,
            headers=given,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=START_SECONDS),
        ) as answer:
            said = await beginning(answer.content, LONGEST_ANSWER)
            if answer.status != 200:
                raise StreamRefused(f"its start was answered {answer.status}: {_words(said)}")
            try:
                told = json.loads(said)
            except (ValueError, RecursionError):
                told = {}
            return StartAnswer(answer.headers, told if isinstance(told, dict) else {})
    except TimeoutError:
        raise StreamRefused(f"its start had no answer within {START_SECONDS:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise StreamRefused(
            f"its start had no answer: {str(error) or type(error).__name__}"
        ) from None


async def stopped(
    session: aiohttp.ClientSession,
    url: str,
    id: str,
    headers: Mapping[str, str] | None = None,
) -> None:
    try:
        async with session.post(
            url,
            data=b'{"linger": 0}',
            headers={"X-Stream-Id": id, **(headers or {})},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=STOP_SECONDS),
        ) as answer:
            await beginning(answer.content, LONGEST_ANSWER)
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass


def _words(said: bytes) -> str:
    """What an error's body says: its message where it has one, else its text."""
    text = said.decode("utf-8", "replace").strip()
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, TypeError, KeyError, RecursionError):
        message = text
    return printable(str(message), 200) or "nothing"
