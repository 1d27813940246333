"""How a target is called: straight at its URL, or through an orchestrator."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import aiohttp

from livepeer.runner.bench.live.door import AppDoor, CapabilityDoor, ContainerDoor, Pay, StreamDoor
from livepeer.runner.targets.address import address_towards
from livepeer.runner.targets.offer import OrchestratorOffer
from livepeer.runner.targets.reference import TargetError
from livepeer.trickle import TrickleServer

SCHEMA_SECONDS: Final = 10.0
LARGEST_SCHEMA: Final = 4 << 20


class BenchRoad(Protocol):
    """One way to a target."""

    @property
    def predict(self) -> str:
        """Where calls are POSTed."""

    async def stamp(self) -> Mapping[str, str]:
        """The headers of one call."""

    async def document(self) -> Mapping[str, Any]:
        """What the target says of itself; nothing where it says nothing. Raises `TargetError`."""

    def door(self) -> AbstractAsyncContextManager[StreamDoor]:
        """For streams. Raises `TargetError` where there are none."""


@dataclass(frozen=True, slots=True)
class StraightRoad:
    """A container at its URL. `host`: the address of this machine that it can call, where that is
    known."""

    url: str
    host: str | None = None

    @property
    def predict(self) -> str:
        return f"{self.url}/predict"

    async def stamp(self) -> Mapping[str, str]:
        return {}

    async def document(self) -> Mapping[str, Any]:
        return await schema_at("GET", f"{self.url}/schema")

    @asynccontextmanager
    async def door(self) -> AsyncIterator[StreamDoor]:
        async with (
            TrickleServer(host=self.host or address_towards(self.url), autocreate=False) as server,
            aiohttp.ClientSession() as session,
        ):
            yield ContainerDoor(self.url, session, server)


@dataclass(frozen=True, slots=True)
class CapabilityRoad:
    """A BYOC capability: jobs below `/process/request`, streams by `/ai/stream`."""

    offer: OrchestratorOffer
    pay: Pay | None = None

    @property
    def predict(self) -> str:
        return f"{self.offer.orchestrator}/process/request/predict"

    async def stamp(self) -> Mapping[str, str]:
        paid = await self.pay(self.offer) if self.pay is not None else {}
        return {**self.offer.job(), **paid}

    async def document(self) -> Mapping[str, Any]:
        url = f"{self.offer.orchestrator}/process/request/schema"
        return await schema_at("POST", url, await self.stamp())

    @asynccontextmanager
    async def door(self) -> AsyncIterator[StreamDoor]:
        async with aiohttp.ClientSession(connector=_trusting()) as session:
            yield CapabilityDoor(self.offer, session, self.pay)


@dataclass(frozen=True, slots=True)
class AppRoad:
    """A live runner's app: paths below its own. `app`: of a single-shot one, or of a session that
    is ours, which `give_back` ends."""

    offer: OrchestratorOffer
    app: str
    pay: Pay | None = None
    give_back: Callable[[], Awaitable[None]] | None = None

    @property
    def predict(self) -> str:
        return f"{self.app}/predict"

    async def stamp(self) -> Mapping[str, str]:
        return await self.pay(self.offer) if self.pay is not None else {}

    async def document(self) -> Mapping[str, Any]:
        return await schema_at("GET", f"{self.app}/schema", await self.stamp())

    @asynccontextmanager
    async def door(self) -> AsyncIterator[StreamDoor]:
        if self.offer.kind != "persistent":
            raise TargetError(f"{self.offer.name} is a single-shot runner, which has no streams")
        if self.give_back is not None:  # each stream has a session of its own, and places are few
            await self.give_back()
        async with aiohttp.ClientSession(connector=_trusting()) as session:
            yield AppDoor(self.offer, session, self.pay)


@asynccontextmanager
async def through(offer: OrchestratorOffer, pay: Pay | None = None) -> AsyncIterator[BenchRoad]:
    """The road to what an orchestrator offers. Of an app with sessions one is reserved for calls,
    and given back. Raises `TargetError`, also for what has a price where nobody pays."""
    if offer.price and pay is None:
        raise TargetError(
            f"{offer.name} costs {offer.price} there, and this command pays nothing: measure its "
            "container by its own URL, or offer it for nothing"
        )
    if offer.kind == "capability":
        yield CapabilityRoad(offer, pay)
    elif offer.kind == "single-shot":
        yield AppRoad(offer, offer.orchestrator + offer.path, pay)
    else:
        async with aiohttp.ClientSession(connector=_trusting()) as session:
            async with AsyncExitStack() as stack:
                reserving = AppDoor(offer, session, pay).reserved()
                place = await stack.enter_async_context(reserving)
                yield AppRoad(offer, place.app, pay, stack.aclose)


async def schema_at(
    method: str, url: str, headers: Mapping[str, str] | None = None
) -> Mapping[str, Any]:
    """A target's document. Raises `TargetError` where nobody answers, or without end."""
    limit = aiohttp.ClientTimeout(total=SCHEMA_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, connector=_trusting()) as session,
            session.request(method, url, headers=headers, allow_redirects=False) as answer,
        ):
            body = b""
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > LARGEST_SCHEMA:
                    raise TargetError(f"the schema at {url} has no end")
            document = json.loads(body) if answer.status == 200 else {}
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        base = url.removesuffix(urlsplit(url).path)
        raise TargetError(
            f"{base} does not answer: {str(error) or type(error).__name__}"
        ) from error
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _trusting() -> aiohttp.TCPConnector:
    """Orchestrators have certificates that nobody signed."""
    return aiohttp.TCPConnector(limit=0, ssl=False)
