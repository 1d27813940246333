"""The schemas of capabilities: asked through them, and kept for a while."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from livepeer.client.exceptions import InvalidInputError, LivepeerError, PipelineError
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.network.candidates import Choice
from livepeer.client.network.dispatch import Dispatcher
from livepeer.client.network.jobs import Task, check_capability
from livepeer.client.protocol.discovery import PERSISTENT
from livepeer.client.protocol.results import EVENT_STREAM, media_type
from livepeer.client.schema import params as live_params
from livepeer.client.schema.schema import Schema
from livepeer.client.untrusted import loads

logger = logging.getLogger(__name__)

SCHEMA_SECONDS: Final = 300.0
"""Seconds for which a schema is taken for the one in use; one that refuses is asked for again
unless it is FRESH."""
NONE_SECONDS: Final = 60.0
FRESH_SECONDS: Final = 5.0
FAILED_SECONDS: Final = 15.0
"""One that could not be had is asked for again after this, and calls do without it until then."""
SCHEMAS: Final = 256
SCHEMA_BYTES: Final = 1 << 18
"""Bytes of a schema document."""
SCHEMA_LIMIT: Final = 5.0
"""Seconds that a schema is worth waiting for, where nobody asked for it."""


@dataclass(frozen=True, slots=True)
class Known:
    """What an orchestrator said when it was asked for a schema: it, or none; or it did not say."""

    schema: Schema | None
    failed: bool = False
    at: float = field(default_factory=lambda: time.monotonic())

    @property
    def age(self) -> float:
        return time.monotonic() - self.at

    @property
    def lasts(self) -> float:
        if self.failed:
            return FAILED_SECONDS
        return SCHEMA_SECONDS if self.schema else NONE_SECONDS


class Schemas:
    """Schemas by orchestrator and capability: two may run different versions of one name.

    Plain dicts with single operations: thread-safe.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._known: dict[tuple[str, str], Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def known(self, place: str | None, capability: str) -> Known | None:
        """What is known and not too old."""
        known = self._known.get((place, capability)) if place else None
        return known if known and known.age < known.lasts else None

    def doubt(self, place: str, capability: str) -> None:
        """The pipeline refused what the schema takes: ask anew, unless that was just done."""
        known = self._known.get((place, capability))
        if known and known.age > FRESH_SECONDS:
            self._known.pop((place, capability), None)

    async def get(
        self, http: Http, capability: str, deadline: Deadline, max_retries: int | None = None
    ) -> Schema | None:
        """The schema, asked for where it is not known; None where there is none."""
        check_capability(capability)
        choice = await self._dispatcher.candidates.choose(http, capability, None, deadline)
        known = self.known(choice.first, capability)
        if known is None or known.failed:
            known = await self._fetch(http, capability, deadline, choice, max_retries)
        return known.schema

    async def ask(
        self, http: Http, capability: str, deadline: Deadline, choice: Choice, place: str
    ) -> Known:
        """What can be had of it in a moment; whatever comes of it is no reason for a call to fail,
        and a failure is not taken for there being none."""
        limit = Deadline(max(0.001, min(SCHEMA_LIMIT, deadline.remaining())))
        first = Choice(choice.candidates[:1], choice.attempts)
        offer = choice.candidates[0].offer if choice.candidates else None
        if offer is not None and offer.mode == PERSISTENT:
            # It takes requests in sessions only: another road may tell.
            first = await self._dispatcher.candidates.choose(http, capability, None, limit)
        try:
            return await self._fetch(http, capability, limit, first, 0)
        except LivepeerError as error:
            logger.debug("%s: no schema: %s", capability, error)
        known = Known(None, failed=True)
        self._keep(place, capability, known)
        return known

    async def check_params(
        self,
        http: Http,
        capability: str,
        params: Mapping[str, Any],
        deadline: Deadline,
        choice: Choice,
    ) -> None:
        """Refuse live parameters that there are not, where the schema is known already."""

        known, place = self.known(choice.first, capability), choice.first
        if place is None or known is None or known.schema is None:
            return
        try:
            live_params.check(known.schema, params, capability=capability)
        except InvalidInputError:
            if known.age < FRESH_SECONDS:
                raise
            known = await self.ask(http, capability, deadline, choice, place)
            if known.schema is not None:
                live_params.check(known.schema, params, capability=capability)

    async def _fetch(
        self,
        http: Http,
        capability: str,
        deadline: Deadline,
        choice: Choice,
        max_retries: int | None,
    ) -> Known:
        """The schema, or that there is none. Raises where that was not told."""
        task = Task(capability, b"{}", route="schema", idempotent=True, max_retries=max_retries)
        schema: Schema | None = None
        try:
            running = await self._dispatcher.start(http, task, deadline, choice)
        except (InvalidInputError, PipelineError) as error:
            if isinstance(error, PipelineError) and error.status not in (404, 501):
                raise
            logger.debug("%s does not tell its schema: %s", capability, error)
            place = error.orchestrator
        else:
            place = running.place
            if media_type(running.headers) == EVENT_STREAM:
                running.close()
            else:
                body = await running.body(limit=SCHEMA_BYTES)
                schema = await asyncio.to_thread(_schema_in, body)
        known = Known(schema)
        if place:
            self._keep(place, capability, known)
        return known

    def _keep(self, place: str, capability: str, known: Known) -> None:
        while len(self._known) >= SCHEMAS and (place, capability) not in self._known:
            self._known.pop(next(iter(self._known)), None)
        self._known[place, capability] = known


def _schema_in(body: bytes) -> Schema | None:
    try:
        return Schema.read(loads(body))
    except ValueError:
        return None  # it is something else, as of a container that is not made with this SDK
