"""What one JSON Schema says at one level, as versions of it are compared."""

from __future__ import annotations

from typing import Any

DEPTH = 32
"""Levels of a schema that are followed; what is deeper counts as changed where it differs."""
UNIONS = ("anyOf", "oneOf")
FREE = {
    *("$defs", "$schema", "$id", "$comment", "title", "description", "default", "examples"),
    *("deprecated", "readOnly", "writeOnly", "discriminator"),
}
"""Keywords that bound no value."""


def is_union(schema: dict[str, Any]) -> bool:
    return bool(alternatives(schema))


def alternatives(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of `anyOf`, else of `oneOf`; none where it has neither."""
    found = next((schema[name] for name in UNIONS if isinstance(schema.get(name), list)), ())
    return [one for one in found if isinstance(one, dict)]


def besides(schema: dict[str, Any]) -> dict[str, Any]:
    """What bounds a value beside the alternatives."""
    first = next(name for name in UNIONS if isinstance(schema.get(name), list))
    return {name: value for name, value in schema.items() if name not in FREE | {first}}


def choice(schema: dict[str, Any]) -> list[Any] | None:
    """The values of which it is one; None: any."""
    if "const" in schema:
        return [schema["const"]]
    found = schema.get("enum")
    return found if isinstance(found, list) else None


def types_of(schema: dict[str, Any]) -> frozenset[str]:
    """The types that a value may have, alternatives left aside; empty: any."""
    kind = schema.get("type")
    kinds = [kind] if isinstance(kind, str) else kind if isinstance(kind, list) else []
    return frozenset(one for one in kinds if isinstance(one, str))


def resolved(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    """Without a reference at its top; those in circles are left as they are."""
    for _ in range(DEPTH):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        found: Any = root
        for part in reference[2:].split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            break
        schema = {**found, **{name: value for name, value in schema.items() if name != "$ref"}}
    return schema


def properties(schema: dict[str, Any]) -> dict[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def required(schema: dict[str, Any]) -> set[str]:
    found = schema.get("required")
    return {one for one in found if isinstance(one, str)} if isinstance(found, list) else set()
