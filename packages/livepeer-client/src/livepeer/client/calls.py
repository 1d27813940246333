"""A call: its input encoded and checked, its job sent, its answer made a value."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from livepeer.client.deadline import Deadline
from livepeer.client.exceptions import (
    ConfigurationError,
    InvalidInputError,
    LivepeerError,
    PipelineError,
    ProtocolError,
)
from livepeer.client.files import as_bytes
from livepeer.client.http import Http
from livepeer.client.jobs import Choice, Dispatcher, Running, Task
from livepeer.client.offers import phase_of
from livepeer.client.results import EVENT_STREAM, media_type, value_of
from livepeer.client.schemas import Schema
from livepeer.client.selection import Attempt
from livepeer.client.streams import collect
from livepeer.client.types import CapabilityInfo
from livepeer.client.values import encode
from livepeer.client.wire import compact_json

if TYPE_CHECKING:
    import os

    from pydantic import BaseModel

    Input = Mapping[str, Any] | BaseModel | bytes | os.PathLike[str] | list[Any] | None

log = logging.getLogger("livepeer.client")

T = TypeVar("T")

#: What a schema is worth waiting for, where nobody asked for it.
SCHEMA_LIMIT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Call:
    """What the caller said, as it was said."""

    capability: str
    input: Input = None
    model: str | None = None
    timeout: float | None = None
    route: str = "predict"
    idempotent: bool = False
    validate: bool | None = None


class Caller:
    """Makes calls on behalf of a gateway; keeps the schemas that it has met."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._schemas: dict[str, Schema | None] = {}

    async def start(self, http: Http, call: Call, deadline: Deadline) -> Running:
        """Check and send; the answer has begun when this returns."""
        name = call.capability
        _check_name(name)
        if name in self._schemas or call.validate is False:
            schema = self._schemas.get(name)
            # Refused before anything is sent, where the schema is known.
            return await self._dispatcher.start(http, _task(call, schema), deadline)
        if call.validate:
            schema = await self.schema(http, name, deadline)
            return await self._dispatcher.start(http, _task(call, schema), deadline)
        choice = await self._dispatcher.choose(http, name, call.model, deadline)
        schema = await self._free_schema(http, call, deadline, choice)
        return await self._dispatcher.start(http, _task(call, schema), deadline, choice)

    async def value(self, call: Call, running: Running) -> Any:
        """The whole answer as a value; the values of a stream in a list."""
        if media_type(running.headers) == EVENT_STREAM:
            return await collect(running)
        body = await running.body()
        schema = self._schemas.get(call.capability)
        try:
            return value_of(
                body,
                running.headers,
                gateway=running.gateway,
                schema=schema.output if schema else None,
                where=running.where,
            )
        except LivepeerError as error:
            raise running.failed(error) from error.__cause__

    async def schema(self, http: Http, capability: str, deadline: Deadline) -> Schema | None:
        """The schema, asked for where it is not known yet; None where there is none."""
        if capability not in self._schemas:
            self._schemas[capability] = await self._fetch(http, capability, deadline, None)
        return self._schemas[capability]

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

    async def _free_schema(
        self, http: Http, call: Call, deadline: Deadline, choice: Choice
    ) -> Schema | None:
        """The schema where it costs nothing: a job of its own is asked of a free capability only,
        and whatever comes of it is no reason for the call to fail."""
        if call.route != "predict" or not choice.offers or not choice.offers[0].free:
            return None
        limit = Deadline(max(0.001, min(SCHEMA_LIMIT, deadline.remaining())))
        try:
            schema = await self._fetch(http, call.capability, limit, choice)
        except LivepeerError as error:
            log.debug("%s: no schema: %s", call.capability, error)
            return None
        self._schemas[call.capability] = schema
        return schema

    async def _fetch(
        self, http: Http, capability: str, deadline: Deadline, choice: Choice | None
    ) -> Schema | None:
        task = Task(capability, b"{}", "application/json", route="schema", idempotent=True)
        try:
            running = await self._dispatcher.start(http, task, deadline, choice)
            if media_type(running.headers) == EVENT_STREAM:
                running.close()
                return None
            return Schema.read(json.loads(await running.body()))
        except (InvalidInputError, PipelineError) as error:
            log.debug("%s does not tell its schema: %s", capability, error)
        except ValueError:
            log.debug("%s answered something else than a schema", capability)
        return None

    async def _probe(
        self, http: Http, name: str, known: list[str], deadline: Deadline
    ) -> CapabilityInfo:
        answers = await asyncio.gather(
            *(self._dispatcher.offers.probe(http, each, name, deadline) for each in known),
            return_exceptions=True,
        )
        offers, attempts = [], []
        for answer in answers:
            if isinstance(answer, LivepeerError):
                attempts.append(Attempt(answer, phase_of(answer)))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                offers.append(answer)
        rejections = tuple(attempt.rejection for attempt in attempts)
        return CapabilityInfo(name, tuple(offers), rejections)


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ConfigurationError(f"the name of a capability is a line of text, not {name!r}")


def _task(call: Call, schema: Schema | None) -> Task:
    body, kind = _body(call, schema)
    return Task(call.capability, body, kind, call.route, call.model, call.idempotent)


def _body(call: Call, schema: Schema | None) -> tuple[bytes, str]:
    if isinstance(call.input, (bytes, bytearray, memoryview)) or hasattr(call.input, "__fspath__"):
        raw = as_bytes(call.input)
        assert raw is not None
        return raw
    value = encode({} if call.input is None else call.input, schema.input if schema else None)
    if call.model and schema and isinstance(value, dict):
        if "model" in schema.input.get("properties", {}):
            value.setdefault("model", call.model)
    if schema and call.validate is not False:
        schema.check(value, capability=call.capability)
    try:
        return compact_json(value).encode(), "application/json"
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"the input cannot be sent as JSON: {error}") from error


def parsed(value: Any, output: type[T], running: Running) -> T:
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
