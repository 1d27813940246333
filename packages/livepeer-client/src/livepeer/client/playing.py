"""A capability of the network for a page that plays with it: the entry point `livepeer.callers`.

The page's server is in another distribution, which this one does not know, and which does not know
this one: it finds `open_caller` by the entry point, and what it gives has the shape that is written
there (`livepeer.runner.playground.network`). Errors are those of this package.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from livepeer.client.calls import CallArguments
from livepeer.client.config import Config
from livepeer.client.engine import Engine
from livepeer.client.exceptions import ConfigurationError, NoOrchestratorError
from livepeer.client.live.session import LiveSession, channels_of
from livepeer.client.network.jobs import RunningJob
from livepeer.client.network.schemas import SCHEMA_BYTES
from livepeer.client.network.selection import told_offer
from livepeer.client.schema.schema import Schema
from livepeer.client.untrusted import loads
from livepeer.trickle.types import TLS

CALL_SECONDS = 600.0
_CHANNELS = {"subscribe": True, "data": True}


class PlayedStream:
    """A live stream whose media its user carries: URLs, and the rest as a session has it."""

    def __init__(self, session: LiveSession) -> None:
        self._session = session
        self._live, self._tls = channels_of(session)

    @property
    def input_url(self) -> str | None:
        return self._live.publish_url

    @property
    def output_url(self) -> str:
        if self._live.subscribe_url is None:
            raise ConfigurationError(
                "by a gateway, media goes in and out by WHIP or RTMP: name an orchestrator"
            )
        return self._live.subscribe_url

    @property
    def tls(self) -> TLS:
        return self._tls

    def events(self) -> AsyncIterator[dict[str, Any]]:
        return aiter(self._session.events())

    def data(self) -> AsyncIterator[dict[str, Any]]:
        return self._session.data()

    async def update(self, params: Mapping[str, Any]) -> dict[str, Any]:
        answer = await self._session.update(params)
        now = answer.get("params") if isinstance(answer, dict) else None
        return now if isinstance(now, dict) else {}

    async def control(self, message: Mapping[str, Any]) -> None:
        await self._session.control(message)


class NetworkCaller:
    """Calls one capability by the roads that there are, paid for as every call is."""

    def __init__(
        self, engine: Engine, capability: str, document: dict[str, Any], price: str
    ) -> None:
        self.document = document
        """What it tells of itself (`POST /schema`)."""
        self.price = price
        """What it costs, for people; empty where it is free, or nobody can pay."""
        self._engine = engine
        self._capability = capability

    def on_spent(self, listener: Callable[[float], None]) -> None:
        """Call it with the wei that have been spent by now, after each payment."""
        self._engine.wallet.budget.listen(lambda spent: listener(float(spent)))

    @asynccontextmanager
    async def call(self, body: bytes) -> AsyncIterator[tuple[int, str, AsyncIterator[bytes]]]:
        """One request with a JSON body: status, media type and body of its answer."""
        call = CallArguments(self._capability, json.loads(body), timeout=CALL_SECONDS)
        running = await self._engine.start(call)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                kind = running.headers.get("Content-Type", "application/octet-stream")
                response = running.response
                yield response.status, kind, _pieces(running)
        finally:
            running.close()

    @asynccontextmanager
    async def live(self, params: Mapping[str, Any], *, sends: bool) -> AsyncIterator[PlayedStream]:
        """One stream; `sends`: it has an input."""
        channels = {"publish": sends, **_CHANNELS}
        session = self._engine.live(self._capability, params, None, channels, {}, None, None)
        async with session:
            yield PlayedStream(session)


async def _pieces(running: RunningJob) -> AsyncIterator[bytes]:
    while piece := await running.response.read(CALL_SECONDS):
        yield piece


@asynccontextmanager
async def open_caller(
    capability: str, settings: Mapping[str, Any], document: dict[str, Any] | None = None
) -> AsyncIterator[NetworkCaller]:
    """`settings` are those of `Gateway`. A `document` that is given is not asked for, which would
    be a job and paid for as one: with it, opening costs nothing. Raises what a gateway's calls
    raise, and `NoOrchestratorError` for a capability that does not tell what it takes."""
    engine = Engine(Config.resolve(**settings))
    try:
        price = await _price(engine, capability)
        if document is None:
            document = await _document(engine, capability)
        yield NetworkCaller(engine, capability, document, price)
    finally:
        await engine.aclose()


async def _price(engine: Engine, capability: str) -> str:
    if engine.config.gateway or not engine.wallet.can_pay:
        return ""  # a gateway pays by itself and tells no price
    http, deadline = await engine.pools.current(), engine.deadline(None)
    return told_offer(await engine.dispatcher.catalogue.capabilities(http, [capability], deadline))


async def _document(engine: Engine, capability: str) -> dict[str, Any]:
    http = await engine.pools.current()
    unpayable: ConfigurationError | None = None
    try:
        schema = await engine.schemas.get(http, capability, engine.deadline(None))
    except ConfigurationError as error:
        # By BYOC there is a price that this signer cannot pay; as a live runner there may be none.
        unpayable, schema = error, None
    if schema is None:
        schema = await _told_in_session(engine, capability)
    if schema is None and unpayable is not None:
        raise unpayable
    if schema is None:
        raise NoOrchestratorError(
            f"{capability!r} does not tell what it takes: there is nothing to make a page of",
            capability=capability,
        )
    return dict(schema.document)


async def _told_in_session(engine: Engine, capability: str) -> Schema | None:
    """By an app that takes requests in sessions only: in one that is over at once."""
    try:
        async with engine.session(capability, None, None) as session:
            answer = await session.request("GET", "/schema")
    except NoOrchestratorError:
        return None
    if not answer.ok or len(answer.content) > SCHEMA_BYTES:
        return None
    try:
        return Schema.read(loads(answer.content))
    except ValueError:
        return None  # it is something else, as of a container that is not made with this SDK
