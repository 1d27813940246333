"""Whether a value fits a JSON Schema: the keywords that inputs are described with, no more.

Small on purpose: the doctor uses it to throw away what it generated wrongly. A keyword that is not
known here, a reference that leads nowhere, or a schema that takes too long makes the answer None:
nobody knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

DEEPEST = 16
MOST_STEPS = 20_000
MOST_NODES = 10_000
LETTERS, PATTERN_LETTERS = 400, 24
"""What a pattern is tried on, at most; one that repeats a group may have been made to take for
ever, and has no room to."""
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
_NUMBERS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
_COUNTS = {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
_LISTS = {"anyOf", "oneOf", "allOf", "prefixItems"}
_MAPS = {"properties", "$defs"}
_SCHEMAS = {"items", "additionalProperties"}
_VALUES = {"enum", "const", "default", "examples", "example"}
_REST = (
    "type $ref pattern uniqueItems required title description deprecated readOnly writeOnly "
    "discriminator format contentMediaType contentEncoding $schema $comment"
).split()
_KNOWN = {*_NUMBERS, *_COUNTS, *_LISTS, *_MAPS, *_SCHEMAS, *_VALUES, *_REST}


def fits(schema: Any, value: Any, definitions: Mapping[str, Any]) -> bool | None:
    """True, False, or None where it cannot be told; the schema is one that `is_well_formed` says
    is. Formats and media types are not looked at, nor the pattern of a file."""
    return _Fitting(definitions).fits(schema, value, 0)


def is_well_formed(schema: Any) -> bool:
    """Whether the keywords that are known here have values of their kind, all through."""
    left, waiting = MOST_NODES, [schema]
    while waiting:
        left -= 1
        node = waiting.pop()
        if isinstance(node, bool):
            continue
        if left < 0 or not isinstance(node, Mapping) or not _is_node(node):
            return False
        for key in _LISTS & node.keys():
            waiting += node[key]
        for key in _MAPS & node.keys():
            waiting += node[key].values()
        waiting += [node[key] for key in _SCHEMAS & node.keys()]
    return True


def _is_node(node: Mapping[str, Any]) -> bool:
    for key, value in node.items():
        if key in _NUMBERS:
            good = type(value) in (int, float) and (key != "multipleOf" or value > 0)
        elif key in _COUNTS:
            good = type(value) is int and value >= 0
        elif key in _LISTS or key in ("enum", "examples"):
            good = isinstance(value, list)
        elif key in _MAPS:
            good = isinstance(value, Mapping)
        elif key == "required":
            good = isinstance(value, list) and all(isinstance(one, str) for one in value)
        elif key == "type":
            names = value if isinstance(value, list) else [value]
            good = bool(names) and all(isinstance(one, str) for one in names)
        elif key in ("$ref", "pattern", "format", "contentMediaType"):
            good = isinstance(value, str)
        else:
            good = True
        if not good:
            return False
    return True


def resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """What a `$ref` within the document names; None where that is not there."""
    return definitions.get(str(schema.get("$ref", "")).removeprefix("#/$defs/"))


class _Fitting:
    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._left = MOST_STEPS

    def fits(self, schema: Any, value: Any, depth: int) -> bool | None:
        self._left -= 1
        if schema is True or schema == {}:
            return True
        if schema is False:
            return False
        if self._left < 0 or depth > DEEPEST or not _KNOWN.issuperset(schema):
            return None
        found: list[bool | None] = [_plain(schema, value)]
        if "$ref" in schema:
            target = resolved(schema, self._definitions)
            found.append(None if target is None else self.fits(target, value, depth + 1))
        for name in ("anyOf", "oneOf", "allOf"):
            if name in schema:
                each = [self.fits(one, value, depth + 1) for one in schema[name]]
                found.append(_all(each) if name == "allOf" else _any(each, once=name == "oneOf"))
        if isinstance(value, dict):
            found.append(self._object(schema, value, depth))
        if isinstance(value, list):
            found.append(self._array(schema, value, depth))
        return _all(found)

    def _array(self, schema: Mapping[str, Any], value: list[Any], depth: int) -> bool | None:
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return False
        if schema.get("uniqueItems") and any(one in value[:i] for i, one in enumerate(value)):
            return False
        first = schema.get("prefixItems", [])
        described = [*first, *[schema.get("items", True)] * (len(value) - len(first))]
        pairs = zip(described, value, strict=False)
        return _all([self.fits(one, each, depth + 1) for one, each in pairs])

    def _object(self, schema: Mapping[str, Any], value: dict[str, Any], depth: int) -> bool | None:
        low, high = schema.get("minProperties", 0), schema.get("maxProperties", len(value))
        if not low <= len(value) <= high:
            return False
        if any(name not in value for name in schema.get("required", ())):
            return False
        fields, other = schema.get("properties", {}), schema.get("additionalProperties", True)
        return _all(
            [self.fits(fields.get(key, other), one, depth + 1) for key, one in value.items()]
        )


def _all(found: list[bool | None]) -> bool | None:
    if False in found:
        return False
    return None if None in found else True


def _any(found: list[bool | None], *, once: bool) -> bool | None:
    if once and None not in found:
        return found.count(True) == 1
    if True in found and not once:
        return True
    return None if None in found else False


def _plain(schema: Mapping[str, Any], value: Any) -> bool | None:
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        return False
    if "const" in schema and not _same(value, schema["const"]):
        return False
    if (wanted := schema.get("type")) is not None:
        names = wanted if isinstance(wanted, list) else [wanted]
        if not any(_is(name, value) for name in names):
            return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(schema, value)
    if isinstance(value, str):
        return _text(schema, value)
    return True


def _is(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(name, ()))


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _number(schema: Mapping[str, Any], value: float) -> bool:
    return (
        value >= schema.get("minimum", value)
        and value <= schema.get("maximum", value)
        and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
        and ("multipleOf" not in schema or (value / schema["multipleOf"]) % 1 == 0)
    )


def _text(schema: Mapping[str, Any], value: str) -> bool | None:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        return False
    if "pattern" not in schema or schema.get("format") == "file":
        return True
    if len(value) > (PATTERN_LETTERS if _REPEATED_GROUP.search(schema["pattern"]) else LETTERS):
        return None
    try:
        return re.search(schema["pattern"], value) is not None
    except (re.error, RecursionError):
        return None
