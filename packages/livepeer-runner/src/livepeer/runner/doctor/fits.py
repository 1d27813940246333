"""Whether a value fits a JSON Schema: the keywords that inputs are described with, no more.

Small on purpose: the doctor uses it to throw away what it generated wrongly. A keyword that is not
known here, or a reference that leads nowhere, makes the answer None: nobody knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

DEEPEST = 16
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
_SILENT = frozenset(
    "title description default examples example $defs deprecated readOnly writeOnly discriminator "
    "type enum const anyOf oneOf allOf $ref minimum maximum exclusiveMinimum exclusiveMaximum "
    "multipleOf minLength maxLength pattern items minItems maxItems uniqueItems properties "
    "required additionalProperties prefixItems format contentMediaType contentEncoding $schema "
    "$comment minProperties maxProperties".split()
)


def fits(schema: Any, value: Any, definitions: Mapping[str, Any], depth: int = 0) -> bool | None:
    """True, False, or None where it cannot be told. Formats and media types are not looked at."""
    if schema is True or schema == {}:
        return True
    if schema is False:
        return False
    if not isinstance(schema, Mapping) or depth > DEEPEST or not _SILENT.issuperset(schema):
        return None
    found: list[bool | None] = [_plain(schema, value)]
    if "$ref" in schema:
        target = resolved(schema, definitions)
        found.append(None if target is None else fits(target, value, definitions, depth + 1))
    for name in ("anyOf", "oneOf", "allOf"):
        if name in schema:
            each = [fits(one, value, definitions, depth + 1) for one in schema[name]]
            found.append(_all(each) if name == "allOf" else _any(each, once=name == "oneOf"))
    if isinstance(value, dict):
        found.append(_object(schema, value, definitions, depth))
    if isinstance(value, list):
        found.append(_array(schema, value, definitions, depth))
    return _all(found)


def resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """What a `$ref` within the document names; None where that is not there."""
    return definitions.get(str(schema.get("$ref", "")).removeprefix("#/$defs/"))


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
    if "pattern" not in schema:
        return True
    try:
        return re.search(schema["pattern"], value[:1000]) is not None
    except (re.error, RecursionError):
        return None


def _array(
    schema: Mapping[str, Any], value: list[Any], definitions: Mapping[str, Any], depth: int
) -> bool | None:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return False
    if schema.get("uniqueItems") and any(one in value[:i] for i, one in enumerate(value)):
        return False
    first = schema.get("prefixItems", [])
    found = [
        fits(one, each, definitions, depth + 1) for one, each in zip(first, value, strict=False)
    ]
    rest = schema.get("items", True)
    return _all([*found, *(fits(rest, one, definitions, depth + 1) for one in value[len(first) :])])


def _object(
    schema: Mapping[str, Any], value: dict[str, Any], definitions: Mapping[str, Any], depth: int
) -> bool | None:
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)):
        return False
    if any(name not in value for name in schema.get("required", ())):
        return False
    fields, other = schema.get("properties", {}), schema.get("additionalProperties", True)
    return _all(
        [fits(fields.get(key, other), one, definitions, depth + 1) for key, one in value.items()]
    )
