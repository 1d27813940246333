"""JSON has no infinity, but `1e999` is a JSON number: such values are refused, not passed on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

Location = tuple[str | int, ...]


def check_finite(value: BaseModel) -> None:
    """Raises `pydantic.ValidationError` at the first number that is infinite or not a number."""
    location = _find(value, ())
    if location is not None:
        raise ValidationError.from_exception_data(
            type(value).__name__, [{"type": "finite_number", "loc": location, "input": None}]
        )


def _find(value: Any, location: Location) -> Location | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else location
    children: Iterable[tuple[str | int, Any]]
    if isinstance(value, BaseModel):
        children = [(_written(value, name), child) for name, child in value]
    elif isinstance(value, Mapping):
        children = [(str(key), child) for key, child in value.items()]
    elif isinstance(value, list | tuple | set | frozenset):
        children = enumerate(value)
    elif dataclasses.is_dataclass(value):
        children = [(each.name, getattr(value, each.name)) for each in dataclasses.fields(value)]
    else:
        return None
    for step, child in children:
        if (found := _find(child, (*location, step))) is not None:
            return found
    return None


def _written(model: BaseModel, name: str) -> str:
    field = type(model).model_fields.get(name)
    return field.alias if field is not None and field.alias else name
