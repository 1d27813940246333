"""From the return type of `predict` to how its values leave: as JSON, as bytes, as events."""

from __future__ import annotations

import collections.abc
import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import ConfigDict, EncodedBytes, EncodedStr, PlainSerializer, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import DEFAULT_REF_TEMPLATE
from pydantic_core import PydanticSerializationError

from livepeer.runner.author.files import File
from livepeer.runner.author.jsonable import UnfitValue, converted, infinite, refused
from livepeer.runner.author.signature.function import changed, is_bare_bytes, shown, strip_annotated
from livepeer.runner.author.signature.paths import check_schema, sent
from livepeer.runner.exceptions import SignatureError

_SYNC = (collections.abc.Iterator, collections.abc.Iterable, collections.abc.Generator)
_ASYNC = (
    collections.abc.AsyncIterator,
    collections.abc.AsyncIterable,
    collections.abc.AsyncGenerator,
)
_WORDS = (b"null", b"NaN", b"Infinity")


class CallShape(NamedTuple):
    """How a function is called, and what it gives.

    `coroutine`: the call has to be awaited. `stream`: it gives an iterator of events, an async one
    where `asynchronous`. `asynchronous` alone: it runs on the event loop.
    """

    asynchronous: bool
    coroutine: bool
    stream: bool
    value: Any


class Encoded(NamedTuple):
    """A body and its content type."""

    body: bytes
    media_type: str


def shape_of(function: Callable[..., Any], hint: Any, where: str) -> CallShape:
    """Sort a function by how it is defined and by what its return type says."""
    bare = strip_annotated(hint)
    origin = typing.get_origin(bare) or bare
    coroutine = inspect.iscoroutinefunction(function)
    is_sync = inspect.isgeneratorfunction(function)
    is_async = inspect.isasyncgenfunction(function)
    expected = "AsyncIterator" if is_async else "Iterator"
    if (is_sync and origin not in _SYNC) or (is_async and origin not in _ASYNC):
        arguments = typing.get_args(bare)
        # Common mistakes: the type of the whole list where single elements are yielded, and the
        # iterator of the other kind.
        whole = isinstance(origin, type) and issubclass(origin, (list, tuple, set, Sequence))
        whole = whole or origin in _SYNC or origin in _ASYNC
        one = arguments[0] if whole and arguments and bare is not str else bare
        raise SignatureError(
            f"{where}: it yields, so its return type is `{expected}[...]` of what it yields, "
            f"not `{shown(bare)}`; write `-> {expected}[{shown(one)}]`"
        )
    if coroutine and origin in _SYNC:
        raise SignatureError(
            f"{where}: an `async def` that returns `{shown(bare)}` would block the event loop; "
            f"`yield` in it and write `-> AsyncIterator[...]`"
        )
    stream = origin in _SYNC or origin in _ASYNC
    if not stream:
        return CallShape(coroutine, coroutine, False, hint)
    arguments = typing.get_args(bare)
    if not arguments:
        raise SignatureError(
            f"{where}: write what the stream's events are, `-> {shown(bare)}[str]` for example"
        )
    return CallShape(origin in _ASYNC, coroutine, True, arguments[0])


class Output:
    """What leaves: one value, or each event of a stream.

    `raw_media_type` is set where a value is the whole body by itself: `image/*` for an `Image`,
    `application/octet-stream` for `bytes`; else None, and it leaves as JSON.
    """

    def __init__(self, hint: Any, *, stream: bool, where: str) -> None:
        self.type = hint
        what = "an event of its stream" if stream else "its return type"
        hint = sent(hint, where, what)
        bare = strip_annotated(hint)
        self.raw_media_type: str | None = None
        if not stream and isinstance(bare, type):
            if issubclass(bare, File):
                self.raw_media_type = f"{bare.family}/*" if bare.family else "*/*"
            elif is_bare_bytes(hint):
                self.raw_media_type = "application/octet-stream"
        try:
            self.adapter: TypeAdapter[Any] = _adapter(hint)
            self._checks: TypeAdapter[Any] = _adapter(_decoded(hint))
            self._writer: TypeAdapter[Any] = _adapter(_written(hint))
            schema = self.adapter.json_schema(mode="serialization")
        except (PydanticInvalidForJsonSchema, PydanticUserError, TypeError, NameError) as error:
            raise SignatureError(
                f"{where}: {what} is {shown(bare)}, which has no JSON form; write a BaseModel, "
                f"str, list[float], dict[str, Any], Image, ... ({str(error).splitlines()[0]})"
            ) from error
        check_schema(schema, f"{where}: {what}")

    def schema(self, ref_template: str = DEFAULT_REF_TEMPLATE) -> dict[str, Any]:
        """JSON Schema of a value, with its `$defs`."""
        return self.adapter.json_schema(mode="serialization", ref_template=ref_template)

    def encode(self, value: Any) -> Encoded:
        """Check a returned value against the type and encode it.

        Raises `pydantic.ValidationError`, or `UnfitValue` where JSON has no form for something in
        it: the pipeline's fault, not the caller's.
        """
        checked = self._checks.validate_python(value)
        if self.raw_media_type is not None:
            if isinstance(checked, File):
                return Encoded(checked.data, checked.media_type)
            return Encoded(bytes(checked), self.raw_media_type)
        return Encoded(self._json(checked), "application/json")

    def encode_json(self, value: Any) -> bytes:
        """The value as JSON, a file as its `data:` URI: for events and collected streams."""
        return self._json(self._checks.validate_python(value))

    def _json(self, checked: Any) -> bytes:
        try:
            # Not `dump_json`, whose `fallback` came with pydantic 2.11.
            body = self._writer.serializer.to_json(checked, by_alias=True, fallback=converted)
        except PydanticSerializationError as error:
            raise refused(checked, error) from error
        # What pydantic writes for nan and infinity, whichever model's configuration it follows.
        # Only then it is worth a look at each value whether it was one.
        if any(word in body for word in _WORDS) and (found := infinite(checked)) is not None:
            raise UnfitValue(found)
        return body


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False, ser_json_bytes="base64"))
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":  # models bring a configuration of their own
            raise
        return TypeAdapter(hint)


def _decoded(hint: Any) -> Any:
    """The hint of a value in Python's hands: base64 is decoded there, and not once more."""
    return changed(hint, lambda one: None if isinstance(one, EncodedBytes | EncodedStr) else one)


def _written(hint: Any) -> Any:
    """The hint of a value that leaves: base64 is text there, and not encoded once more."""

    def change(one: Any) -> Any:
        if not isinstance(one, EncodedBytes):
            return one
        encode = one.encoder.encode
        return PlainSerializer(lambda data: encode(data).decode(), return_type=str)

    return changed(hint, change)
