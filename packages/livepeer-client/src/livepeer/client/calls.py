"""A call: its input encoded and checked, its job sent, its answer made a value."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from livepeer.client.exceptions import (
    InvalidInputError,
    LivepeerError,
    ProtocolError,
)
from livepeer.client.files import DEPTH, as_bytes, encode
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.retries import retries
from livepeer.client.network.candidates import Choice
from livepeer.client.network.dispatch import Dispatcher
from livepeer.client.network.jobs import RunningJob, Task, check_capability
from livepeer.client.network.schemas import FRESH_SECONDS, Known, Schemas
from livepeer.client.payments.budget import Budget
from livepeer.client.protocol.results import EVENT_STREAM, media_type, value_of
from livepeer.client.protocol.wire import JSON, compact_json
from livepeer.client.schema.schema import Schema
from livepeer.client.streams import collect
from livepeer.client.untrusted import LARGE

if TYPE_CHECKING:
    import os

    from pydantic import BaseModel

    CallInput = Mapping[str, Any] | BaseModel | bytes | os.PathLike[str] | list[Any] | None

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)  # made for each call: freezing would double its cost
class CallArguments:
    """The arguments of `Gateway.run`, as they were given."""

    capability: str
    input: CallInput = None
    model: str | None = None
    timeout: float | None = None
    route: str = "predict"
    idempotent: bool = False
    validate: bool | None = None
    max_retries: int | None = None
    max_spend: float | Fraction | None = None


class Calls:
    """Makes calls on behalf of a gateway."""

    def __init__(self, dispatcher: Dispatcher, schemas: Schemas) -> None:
        self._dispatcher, self._schemas = dispatcher, schemas

    async def start(
        self, http: Http, call: CallArguments, deadline: Deadline, budget: Budget
    ) -> RunningJob:
        """Check and send; the answer has begun when this returns."""
        name = call.capability
        check_capability(name)
        if call.max_retries is not None:
            retries(call.max_retries)
        choice = await self._dispatcher.candidates.choose(http, name, call.model, deadline)
        place = choice.first
        known = await self._schema_for(http, call, deadline, choice)
        try:
            task = await _task(call, known.schema, budget)
        except InvalidInputError:
            if known.schema is None or place is None or known.age < FRESH_SECONDS:
                raise
            # The capability may be another one by now, which takes this: it is asked once more.
            known = await self._schemas.ask(http, name, deadline, choice, place)
            task = await _task(call, known.schema, budget)
        try:
            running = await self._dispatcher.start(http, task, deadline, choice)
        except InvalidInputError as error:
            if error.orchestrator:
                self._schemas.doubt(error.orchestrator, name)
            raise
        schema = (self._schemas.known(running.place, name) or known).schema
        return replace(running, output=schema.output) if schema else running

    async def value(self, running: RunningJob) -> Any:
        """The whole answer as a value; the values of a stream in a list."""
        if media_type(running.headers) == EVENT_STREAM:
            return await collect(running)
        body = await running.body()

        def read() -> Any:
            return value_of(
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

    async def _schema_for(
        self, http: Http, call: CallArguments, deadline: Deadline, choice: Choice
    ) -> Known:
        """The schema where the call wants it, or where it costs nothing: a job of its own is asked
        of a free capability only."""
        place = choice.first
        known = self._schemas.known(place, call.capability)
        if known is not None and not (known.failed and call.validate):
            return known
        if call.validate:
            name, again = call.capability, call.max_retries
            return Known(await self._schemas.get(http, name, deadline, again))
        if place is None or call.validate is False or call.route != "predict" or not choice.free:
            return Known(None)
        if choice.foreign:  # it is not to be asked what it does not know
            return Known(None)
        return await self._schemas.ask(http, call.capability, deadline, choice, place)


async def _task(call: CallArguments, schema: Schema | None, budget: Budget) -> Task:
    """What is sent. Made in a thread of its own where it may take longer than a loop should."""
    if schema and schema.document.get("type") == "live" and call.route == "predict":
        raise InvalidInputError(
            f"{call.capability!r} is a live pipeline: call it with live()",
            capability=call.capability,
        )
    if schema is None and _is_small(call.input):
        body, kind = _plain_body(call), JSON
    else:
        body, kind = await asyncio.to_thread(_body, call, schema)
    return Task(
        call.capability,
        body,
        kind,
        call.route,
        call.model,
        call.idempotent,
        call.max_retries,
        budget=budget,
    )


def _is_small(value: Any) -> bool:
    """Plain JSON values, and not many of them: no file to read, no picture to compress."""
    waiting, left = [value], 1_000
    while waiting and left > 0:
        each = waiting.pop()
        left -= 1
        if isinstance(each, str):
            left -= len(each) >> 10
        elif isinstance(each, dict):
            if len(each) > left or not all(isinstance(key, str) for key in each):
                return False
            waiting.extend(each.values())
        elif isinstance(each, (list, tuple)):
            waiting.extend(islice(each, left + 1))
        elif each is not None and not isinstance(each, (bool, int, float)):
            return False
    return left > 0


def _plain_body(call: CallArguments) -> bytes:
    """What is small and plain goes as it is: there is nothing in it to be encoded."""
    with contextlib.suppress(ValueError, RecursionError):
        text = compact_json({} if call.input is None else call.input)
        if text.count("[") + text.count("{") <= DEPTH:
            return text.encode()
    # Perhaps nested too deeply, or with a number that JSON does not have: this says where.
    return _body(call, None)[0]


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
        return compact_json(value).encode(), JSON
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
