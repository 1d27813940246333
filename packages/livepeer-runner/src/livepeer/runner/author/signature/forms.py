"""Inputs as the parts of a multipart form, where every part is text or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pydantic_core

from livepeer.runner.author.files import File


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
