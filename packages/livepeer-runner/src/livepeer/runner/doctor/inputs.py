"""Inputs of a JSON Schema: one to begin with, its neighbours that fit, and those that do not.

Small on purpose: values change one at a time from an input that works, so that an answer tells of
that one change. Files, formats and patterns stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

WORDS = {"string": "text", "integer": 1, "number": 1.0, "boolean": True, "null": None}
WRONG: dict[str, Any] = {
    "string": {"no": "text"},
    "integer": {"no": "number"},
    "number": {"no": "number"},
    "boolean": {"no": "truth"},
    "array": {"no": "list"},
    "object": "no object",
}


def first(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The smallest object that fits, None where that is not plain."""
    found: dict[str, Any] = {}
    for name in schema.get("required", ()):
        known, value = _value(_properties(schema).get(name, {}))
        if not known:
            return None
        found[name] = value
    return found


def valid(schema: Mapping[str, Any], base: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Objects that fit because `base` does: choices, bounds, and optional fields left out."""
    found = []
    required = schema.get("required", ())
    for name, field in _properties(schema).items():
        if name in base and name not in required:
            found.append({key: value for key, value in base.items() if key != name})
        found += [{**base, name: value} for value in _others(field)]
    return found


def mutants(schema: Mapping[str, Any], base: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Objects that do not fit: a field missing, of another type, beyond its bounds or choices."""
    found = [
        {key: value for key, value in base.items() if key != name}
        for name in schema.get("required", ())
        if name in base
    ]
    for name, field in _properties(schema).items():
        found += [{**base, name: value} for value in _misfits(field)]
    return found


def _properties(schema: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    return {name: field for name, field in properties.items() if isinstance(field, Mapping)}


def _value(field: Mapping[str, Any]) -> tuple[bool, Any]:
    for key in ("default", "const"):
        if key in field:
            return True, field[key]
    for key in ("examples", "enum"):
        if field.get(key):
            return True, field[key][0]
    kind = field.get("type")
    if kind in ("integer", "number") and "minimum" in field:
        return True, field["minimum"]
    plain = not {"format", "pattern", "minLength", "exclusiveMinimum", "maximum"} & field.keys()
    return plain and kind in WORDS, WORDS.get(str(kind))


def _others(field: Mapping[str, Any]) -> Iterator[Any]:
    yield from field.get("enum", ())
    if field.get("type") in ("integer", "number"):
        yield from (field[key] for key in ("minimum", "maximum") if key in field)
    if field.get("type") == "boolean":
        yield from (True, False)


def _misfits(field: Mapping[str, Any]) -> Iterator[Any]:
    kind = field.get("type")
    if isinstance(kind, str) and kind in WRONG:
        yield WRONG[kind]
    if kind in ("integer", "number"):
        if "minimum" in field:
            yield field["minimum"] - 1
        if "maximum" in field:
            yield field["maximum"] + 1
    if kind == "string" and isinstance(field.get("maxLength"), int) and field["maxLength"] < 10_000:
        yield "a" * (field["maxLength"] + 1)
    if "enum" in field and kind == "string":
        yield "none of these choices"
