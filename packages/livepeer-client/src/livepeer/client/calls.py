"""A call: its input encoded and checked, its job sent, its answer made a value."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from livepeer.client.exceptions import (
    ConfigurationError,
    InvalidInputError,
    LivepeerError,
    PipelineError,
    ProtocolError,
)
from livepeer.client.files import as_bytes, encode
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.retries import retries
from livepeer.client.network.jobs import Choice, Dispatcher, Task
from livepeer.client.network.running import RunningJob
from livepeer.client.protocol.results import EVENT_STREAM, media_type, value_of
from livepeer.client.protocol.wire import compact_json
from livepeer.client.schema import params as live_params
from livepeer.client.schema.schema import FRESH_SECONDS, SCHEMA_BYTES, Known, Schema, SchemaCache
from livepeer.client.streams import collect
from livepeer.client.types import CapabilityInfo
from livepeer.client.untrusted import LARGE, loads

if TYPE_CHECKING:
    import os

    from pydantic import BaseModel

    Input = Mapping[str, Any] | BaseModel | bytes | os.PathLike[str] | list[Any] | None

logger = logging.getLogger(__name__)

T = TypeVar("T")

SCHEMA_LIMIT: Final = 5.0
"""What a schema is worth waiting for, where nobody asked for it."""


@dataclass(frozen=True, slots=True)
class CallArguments:
    """What the caller said, as it was said."""

    capability: str
    input: Input = None
    model: str | None = None
    timeout: float | None = None
    route: str = "predict"
    idempotent: bool = False
    validate: bool | None = None
    max_retries: int | None = None


class Calls:
    """Makes calls on behalf of a gateway; keeps the schemas that it has met."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._schemas = SchemaCache()

    async def start(self, http: Http, call: CallArguments, deadline: Deadline) -> RunningJob:
        """Check and send; the answer has begun when this returns."""
        name = call.capability
        _check_name(name)
        if call.max_retries is not None:
            retries(call.max_retries)
        choice = await self._dispatcher.choose(http, name, call.model, deadline)
        place = self._dispatcher.first(choice)
        known = await self._known_for(http, call, deadline, choice, place)
        try:
            task = await _task(call, known.schema)
        except InvalidInputError:
            if known.schema is None or place is None or known.age < FRESH_SECONDS:
                raise
            # The capability may be another one by now, which takes this: it is asked once more.
            known = await self._ask(http, name, deadline, choice, place)
            task = await _task(call, known.schema)
        try:
            running = await self._dispatcher.start(http, task, deadline, choice)
        except InvalidInputError as error:
            if error.orchestrator:
                self._schemas.doubt(error.orchestrator, name)
            raise
        there = self._schemas.get(str(running.where["orchestrator"]), name) or known
        running.output = there.schema.output if there.schema else None
        return running

    async def value(self, call: CallArguments, running: RunningJob) -> Any:
        """The whole answer as a value; the values of a stream in a list."""
        if media_type(running.headers) == EVENT_STREAM:
            return await collect(running)
        body = await running.body()
        read = partial(
            value_of,
            body,
            running.headers,
            gateway=running.gateway,
            schema=running.output,
            where=running.where,
        )
        try:
            return await asyncio.to_thread(read) if len(body) > LARGE else read()
        except LivepeerError as error:
            raise running.failed(error) from error.__cause__

    async def schema(
        self, http: Http, capability: str, deadline: Deadline, max_retries: int | None = None
    ) -> Schema | None:
        """The schema, asked for where it is not known; None where there is none."""
        _check_name(capability)
        choice = await self._dispatcher.choose(http, capability, None, deadline)
        place = self._dispatcher.first(choice)
        known = self._schemas.get(place, capability) if place else None
        if known is None or known.failed:
            known = await self._fetch(http, capability, deadline, choice, max_retries)
        return known.schema

    async def check_params(
        self,
        http: Http,
        capability: str,
        params: Mapping[str, Any],
        deadline: Deadline,
        choice: Choice,
    ) -> None:
        """Refuse live parameters that there are not, where the schema is known already."""
        place = self._dispatcher.first(choice)
        known = self._schemas.get(place, capability) if place else None
        if place is None or known is None or known.schema is None:
            return
        try:
            live_params.check(known.schema, params, capability=capability)
        except InvalidInputError:
            if known.age < FRESH_SECONDS:
                raise
            known = await self._ask(http, capability, deadline, choice, place)
            if known.schema is not None:
                live_params.check(known.schema, params, capability=capability)

    async def capabilities(
        self, http: Http, names: Iterable[str] | None, deadline: Deadline
    ) -> list[CapabilityInfo]:
        if names is None:
            listed = await self._dispatcher.directory.listed(http, deadline)
            pairs = [(name, sorted(listed[name])) for name in sorted(listed)]
        else:
            pairs = []
            for name in [names] if isinstance(names, str) else names:
                known = await self._dispatcher.directory.orchestrators(http, name, None, deadline)
                pairs.append((name, list(known)))
        return [await self._probe(http, name, known, deadline) for name, known in pairs]

    async def _known_for(
        self, http: Http, call: CallArguments, deadline: Deadline, choice: Choice, place: str | None
    ) -> Known:
        """The schema where the call wants it, or where it costs nothing: a job of its own is asked
        of a free capability only."""
        known = self._schemas.get(place, call.capability) if place else None
        if known is not None and not (known.failed and call.validate):
            return known
        if call.validate:
            return Known(await self.schema(http, call.capability, deadline, call.max_retries))
        free = bool(choice.offers) and choice.offers[0].free
        if place is None or call.validate is False or call.route != "predict" or not free:
            return Known(None)
        return await self._ask(http, call.capability, deadline, choice, place)

    async def _ask(
        self, http: Http, capability: str, deadline: Deadline, choice: Choice, place: str
    ) -> Known:
        """What can be had of it in a moment; whatever comes of it is no reason for a call to fail,
        and a failure is not taken for there being none."""
        limit = Deadline(max(0.001, min(SCHEMA_LIMIT, deadline.remaining())))
        first = Choice(choice.offers[:1], choice.attempts)
        try:
            return await self._fetch(http, capability, limit, first, 0)
        except LivepeerError as error:
            logger.debug("%s: no schema: %s", capability, error)
        known = Known(None, failed=True)
        self._schemas.put(place, capability, known)
        return known

    async def _fetch(
        self,
        http: Http,
        capability: str,
        deadline: Deadline,
        choice: Choice,
        max_retries: int | None,
    ) -> Known:
        """The schema, or that there is none. Raises where that was not told."""
        task = Task(
            capability,
            b"{}",
            "application/json",
            route="schema",
            idempotent=True,
            max_retries=max_retries,
        )
        schema: Schema | None = None
        try:
            running = await self._dispatcher.start(http, task, deadline, choice)
        except (InvalidInputError, PipelineError) as error:
            if isinstance(error, PipelineError) and error.status not in (404, 501):
                raise
            logger.debug("%s does not tell its schema: %s", capability, error)
            place = error.orchestrator
        else:
            place = str(running.where["orchestrator"])
            if media_type(running.headers) == EVENT_STREAM:
                running.close()
            else:
                body = await running.body(limit=SCHEMA_BYTES)
                schema = await asyncio.to_thread(_schema_in, body)
        known = Known(schema)
        if place:
            self._schemas.put(place, capability, known)
        return known

    async def _probe(
        self, http: Http, name: str, known: list[str], deadline: Deadline
    ) -> CapabilityInfo:
        offers, attempts = await self._dispatcher.offers.probe_all(http, known, name, deadline)
        rejections = tuple(attempt.rejection for attempt in attempts)
        return CapabilityInfo(name, tuple(offers), rejections)


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ConfigurationError(f"the name of a capability is a line of text, not {name!r}")


def _schema_in(body: bytes) -> Schema | None:
    try:
        return Schema.read(loads(body))
    except ValueError:
        return None  # it is something else, as of a container that is not made with this SDK


async def _task(call: CallArguments, schema: Schema | None) -> Task:
    """What is sent. Made in a thread of its own where it may take longer than a loop should."""
    if schema and schema.document.get("type") == "live" and call.route == "predict":
        raise InvalidInputError(
            f"{call.capability!r} is a live pipeline: call it with live()",
            capability=call.capability,
        )
    if schema is None and _is_small(call.input):
        body, kind = _body(call, schema)
    else:
        body, kind = await asyncio.to_thread(_body, call, schema)
    return Task(
        call.capability, body, kind, call.route, call.model, call.idempotent, call.max_retries
    )


def _is_small(value: Any) -> bool:
    """Plain JSON values, and not many of them: no file to read, no picture to compress."""
    waiting, left = [value], 1_000
    while waiting and left > 0:
        each = waiting.pop()
        left -= 1
        if isinstance(each, Mapping):
            waiting.extend(islice(each.values(), left + 1))
        elif isinstance(each, (list, tuple)):
            waiting.extend(islice(each, left + 1))
        elif isinstance(each, str):
            left -= len(each) >> 10
        elif each is not None and not isinstance(each, (bool, int, float)):
            return False
    return left > 0


def _body(call: CallArguments, schema: Schema | None) -> tuple[bytes, str]:
    if isinstance(call.input, (bytes, bytearray, memoryview)) or hasattr(call.input, "__fspath__"):
        raw = as_bytes(call.input)
        assert raw is not None
        return raw
    value = encode({} if call.input is None else call.input, schema.input if schema else None)
    if call.model and schema and isinstance(value, dict):
        properties = schema.input.get("properties")
        if isinstance(properties, Mapping) and "model" in properties:
            value.setdefault("model", call.model)
    if schema and call.validate is not False:
        schema.check(value, capability=call.capability)
    try:
        return compact_json(value).encode(), "application/json"
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"the input cannot be sent as JSON: {error}") from error


def parsed(value: Any, output: type[T], running: RunningJob) -> T:
    """`value` as the type that the caller wants. Raises `ProtocolError` where it is none."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(output).validate_python(value)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}".removeprefix(": ")
            for each in error.errors(include_url=False)
        )
        raise running.failed(
            ProtocolError(
                f"the result is no {getattr(output, '__name__', output)}: {told}",
                may_have_run=True,
                **running.where,
            )
        ) from error
