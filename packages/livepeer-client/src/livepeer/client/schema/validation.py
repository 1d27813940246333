"""A value judged by a schema that somebody else wrote, within bounds.

Judging here is a convenience: the pipeline judges for itself. So whatever costs too much, or needs
what is not looked at here, is left to the pipeline (`Unjudged`), and never refused.

jsonschema matches with `re`, which a few letters (`^(a+)+$`) keep busy for ever, with the GIL held,
and follows doubled `allOf` as often as they multiply. Here patterns are matched by the linear
engine that Pydantic brings, and every keyword looks at the clock.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

TIME_LIMIT: Final = 0.25
"""Seconds of this thread's own time that one judgement may take; an ordinary one takes 0.5 ms."""
ERROR_LIMIT: Final = 20
PATTERN_LENGTH: Final = 1_000
TEXT_LENGTH: Final = 4_096
"""Letters that a pattern is matched against; the longest of them take 30 ms at worst."""
UNIQUE_ITEMS: Final = 500
DEPTH: Final = 200
"""Keywords within keywords. Not Python's own limit of recursion: some libraries raise that so
far that a schema which refers to itself would end the process."""


class Unjudged(Exception):
    """Not to be judged here: the pipeline decides."""


@dataclass(slots=True)
class _Bounds:
    """What one judgement may still take."""

    end: float
    depth: int = 0

    def look(self) -> None:
        if time.thread_time() > self.end:
            raise Unjudged(f"it takes longer than {TIME_LIMIT:g} s")
        if self.depth > DEPTH:
            raise Unjudged(f"it is more than {DEPTH} levels deep")


_bounds: ContextVar[_Bounds] = ContextVar("bounds")


def errors(schema: Any, value: Any, is_file: Callable[[Any], bool]) -> list[Any]:
    """What is wrong with `value`: `jsonschema.ValidationError`s, 20 at most, ordered by place.

    `is_file` tells the parts of a schema that stand for a file. Raises `Unjudged` where nothing is
    found wrong before the bounds are met.
    """
    found: list[Any] = []
    _files.set(is_file)
    try:
        found.extend(itertools.islice(_judge(schema, value), ERROR_LIMIT))
    except Unjudged:
        if not found:  # what has been found is wrong, whatever else there is
            raise
    return sorted(found, key=lambda error: list(map(str, error.path)))


def is_schema(schema: Any) -> bool:
    """Is it a JSON Schema by its own metaschema? Also False where that takes too long to tell."""
    _files.set(lambda part: False)
    try:
        return next(_judge(_kind(schema).META_SCHEMA, schema), None) is None
    except Unjudged:
        return False


_files: ContextVar[Callable[[Any], bool]] = ContextVar("files")


def _judge(schema: Any, value: Any) -> Iterator[Any]:
    from referencing import Registry

    _bounds.set(_Bounds(time.thread_time() + TIME_LIMIT))
    try:
        # A registry of its own: the default one would fetch whatever a foreign schema refers to.
        judge = _bounded(_kind(schema))(schema, registry=Registry())
        yield from judge.iter_errors(value)
    except Unjudged:
        raise
    except Exception as error:  # noqa: BLE001 — nobody knows what a foreign schema makes it raise
        raise Unjudged(f"{type(error).__name__}: {str(error)[:200]}") from None


def _kind(schema: Any) -> Any:
    """The draft that a schema names, or the latest."""
    from jsonschema import validators

    try:
        return validators.validator_for(schema, default=validators.Draft202012Validator)
    except Exception as error:  # it takes apart whatever `$schema` is
        raise Unjudged("a `$schema` that is none") from error


@functools.cache
def _bounded(kind: Any) -> Any:
    """`kind` of validator, whose keywords look at the clock and match nothing with `re`."""
    from jsonschema import validators

    keywords = {name: _timed(check) for name, check in kind.VALIDATORS.items()}
    keywords |= {
        "pattern": _pattern,
        "patternProperties": _unjudged,
        "unevaluatedProperties": _unjudged,  # it matches the patterns of the parts
        "additionalProperties": _timed(_additional(kind.VALIDATORS.get("additionalProperties"))),
        "uniqueItems": _timed(_unique(kind.VALIDATORS.get("uniqueItems"))),
    }
    known = {name: check for name, check in keywords.items() if name in kind.VALIDATORS}
    extend: Any = validators.extend
    bounded = extend(kind, known)
    plain = bounded.evolve

    def evolve(self: Any, **changes: Any) -> Any:
        # A part that names a draft of its own would be judged by that one's unbounded keywords.
        part = changes.get("schema", self.schema)
        if isinstance(part, Mapping) and "$schema" in part:
            changes["schema"] = {key: part[key] for key in part if key != "$schema"}
        return plain(self, **changes)

    bounded.evolve = evolve
    return bounded


def _timed(check: Any) -> Any:
    def timed(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        bounds = _bounds.get()
        bounds.depth += 1
        try:
            bounds.look()
            yield from check(validator, value, instance, schema) or ()
        finally:
            bounds.depth -= 1

    return timed


def _unjudged(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        raise Unjudged("a pattern of names")
    return iter(())


def _additional(check: Any) -> Any:
    def additional(validator: Any, value: Any, instance: Any, schema: Mapping[str, Any]) -> Any:
        if "patternProperties" in schema:
            return _unjudged(validator, value, instance, schema)
        return check(validator, value, instance, schema)

    return additional


def _unique(check: Any) -> Any:
    def unique(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        if value and validator.is_type(instance, "array") and len(instance) > UNIQUE_ITEMS:
            raise Unjudged("each item with each other")
        return check(validator, value, instance, schema)

    return unique


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not validator.is_type(instance, "string"):
        return
    if len(instance) > TEXT_LENGTH:
        if _files.get()(schema):
            return  # this side wrote it, in the form that is meant
        raise Unjudged("a long text by a pattern")
    if not _matcher(pattern).isinstance_python(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _matcher(pattern: str) -> Any:
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    if len(pattern) > PATTERN_LENGTH:
        raise Unjudged("a long pattern")
    _bounds.get().look()
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern))
    except (
        SchemaError
    ) as error:  # what that engine has no word for: it looks neither ahead nor back
        raise Unjudged("a pattern of another kind") from error
