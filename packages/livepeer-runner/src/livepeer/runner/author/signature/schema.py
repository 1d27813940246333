"""What is read from an input's JSON Schema: the parts of a multipart form, and an example."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pydantic_core

from livepeer.runner.author.files import File

_TEXTS = ("text", "a", "A", "0", "1", "abc123", "2026-01-01", "a-b", "a@b.org", "")
_FORMATS = {
    "date-time": "2026-01-01T12:00:00Z",
    "date": "2026-01-01",
    "time": "12:00:00Z",
    "duration": "PT1S",
    "uuid": "12345678-1234-5678-1234-567812345678",
    "uri": "https://example.org/",
    "email": "user@example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "base64": "aGVsbG8=",
}
# One white pixel; a tenth of a millisecond of silence.
_PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEA"
    "G7buVgAAAABJRU5ErkJggg=="
)
_WAV = "data:audio/wav;base64,UklGRiYAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQIAAAAAAA=="
_FILES = {
    "image/*": _PNG,
    "audio/*": _WAV,
    "video/*": "https://example.org/clip.mp4",
}
_TEXT_FILE = "data:text/plain;base64," + base64.b64encode(b"hello").decode()


def schema_nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object within a JSON Schema, the outermost first."""
    if isinstance(value, Mapping):
        yield value
        for child in value.values():
            yield from schema_nodes(child)
    elif isinstance(value, list):
        for child in value:
            yield from schema_nodes(child)


# --- a form --------------------------------------------------------------------------------------


class FormField(NamedTuple):
    """How the parts of one name are read: text (a list's items) as it is, or as JSON; a list."""

    is_text: bool
    is_file: bool
    is_list: bool


def form_fields(schema: Mapping[str, Any]) -> dict[str, FormField]:
    """The fields at the top of an input schema."""
    definitions = schema.get("$defs", {})
    return {
        name: _field(field, definitions) for name, field in schema.get("properties", {}).items()
    }


def form_values(
    fields: Mapping[str, FormField], items: Sequence[tuple[str, str | File]]
) -> dict[str, Any]:
    """One value for each name; where the field is a list, a list of its parts."""
    parts: dict[str, list[Any]] = {}
    for name, part in items:
        parts.setdefault(name, []).append(part)
    return {name: _joined(fields.get(name), found) for name, found in parts.items()}


def _joined(field: FormField | None, parts: list[Any]) -> Any:
    if field is None or not field.is_list:
        values = [part if field is None or field.is_text else _read(part) for part in parts]
        return values[0] if len(values) == 1 else values
    if len(parts) == 1 and isinstance(whole := _read(parts[0]), list):
        return whole
    return [part if field.is_text else _read(part) for part in parts]


def _read(part: str | File) -> Any:
    """The text as JSON; what is none stays text, and validation says what is wrong with it."""
    if isinstance(part, File):
        return part
    try:
        return pydantic_core.from_json(part)
    except ValueError:
        return part


def _field(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> FormField:
    branches = _branches(schema, definitions)
    lists = [branch for branch in branches if branch.get("type") == "array"]
    items = [branch for one in lists for branch in _branches(one.get("items") or {}, definitions)]
    return FormField(
        is_text=any(branch.get("type") == "string" for branch in (*branches, *items)),
        is_file=any(branch.get("format") == "file" for branch in (*branches, *items)),
        is_list=bool(lists),
    )


def _branches(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int = 0
) -> list[Mapping[str, Any]]:
    if depth > 8:
        return []
    if reference := schema.get("$ref"):
        return _branches(definitions[reference.rsplit("/", 1)[-1]], definitions, depth + 1)
    for combined in ("anyOf", "oneOf", "allOf"):
        if combined in schema:
            return [
                found
                for branch in schema[combined]
                for found in _branches(branch, definitions, depth + 1)
            ]
    return [schema]


# --- an example ----------------------------------------------------------------------------------


def example_of(schema: Mapping[str, Any]) -> Any:
    """A value that the schema describes, from its examples, defaults and constraints."""
    return _value(schema, schema.get("$defs", {}), 0)


def _value(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> Any:
    if reference := schema.get("$ref"):
        target = definitions[reference.rsplit("/", 1)[-1]]
        merged = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        return None if depth > 8 else _value(merged, definitions, depth + 1)
    if schema.get("examples"):
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if schema.get("default") is not None:
        return schema["default"]
    if schema.get("enum"):
        return schema["enum"][0]
    for combined in ("anyOf", "oneOf", "allOf"):
        if branches := schema.get(combined):
            wanted = [branch for branch in branches if branch.get("type") != "null"]
            return _value((wanted or branches)[0], definitions, depth + 1)
    match schema.get("type"):
        case "object":
            return _object(schema, definitions, depth)
        case "array":
            return _array(schema, definitions, depth)
        case "string":
            return _text(schema)
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return True
        case "null":
            return None
    return "anything"


def _object(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> Any:
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    # Of what may be left out only that whose value is written down: an invented one would be sent
    # by a caller who copies this. Deep down none: a tree of optional children would not end.
    names = [
        name
        for name, field in properties.items()
        if name in required or (depth < 4 and _is_written(field))
    ]
    found = {name: _value(properties[name], definitions, depth + 1) for name in names}
    more = schema.get("additionalProperties")
    if not found and isinstance(more, Mapping) and depth < 4:
        found["key"] = _value(more, definitions, depth + 1)
    return found


def _is_written(field: Mapping[str, Any]) -> bool:
    return bool(field.get("examples")) or "const" in field or field.get("default") is not None


def _array(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> Any:
    if prefix := schema.get("prefixItems"):
        return [_value(item, definitions, depth + 1) for item in prefix]
    least = schema.get("minItems", 0)
    count = max(least, 0 if depth >= 4 or schema.get("maxItems") == 0 else 1)
    items = schema.get("items") or {}
    return [_value(items, definitions, depth + 1) for _ in range(count)]


def _text(schema: Mapping[str, Any]) -> str:
    if schema.get("format") == "file":
        return _FILES.get(schema.get("contentMediaType", ""), _TEXT_FILE)
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    for text in _TEXTS:
        candidate = text.ljust(least, text[-1:] or "a")
        if (most is None or len(candidate) <= most) and _matches(schema.get("pattern"), candidate):
            return candidate
    return "text"


def _matches(pattern: str | None, text: str) -> bool:
    try:
        return pattern is None or re.search(pattern, text) is not None
    except re.error:
        return True


def _number(schema: Mapping[str, Any]) -> int | float:
    whole = schema["type"] == "integer"
    step = schema.get("multipleOf") or (1 if whole else 0.5)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        value = 1 if high is None or high > 1 else high
    elif high is None:
        value = low
    else:
        value = (low + high) / 2 if not whole else (low + high) // 2
    value = -(-value // step) * step if "multipleOf" in schema else value
    if value == schema.get("exclusiveMinimum"):
        value += step
    if value == schema.get("exclusiveMaximum"):
        value -= step
    return int(value) if whole else value
