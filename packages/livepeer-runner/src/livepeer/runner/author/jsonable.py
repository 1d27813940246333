"""Values that leave as JSON: what becomes of those of numpy, and the key of what has no form in it.

plain({"box": np.array([1, 2])})     {"box": [1, 2]}
plain({"boxes": [{"x": nan}]})       ValueError: `boxes.0.x` is nan, which JSON does not have: ...
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Set
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    PlainSerializer,
    ValidationError,
    WrapSerializer,
)
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

Location = tuple[str | int, ...]

_DEEPEST = 200
"""Deeper than this pydantic writes nothing either: the value contains itself, or is an attack."""


class Unfit(NamedTuple):
    """The place of a value that JSON has no form for, and what is wrong with it."""

    location: Location
    reason: str

    def __str__(self) -> str:
        name = ".".join(map(str, self.location))
        return f"`{name}` {self.reason}" if name else f"it {self.reason}"


class UnfitValue(ValueError):
    """A value that JSON has no form for; the message names its key."""

    def __init__(self, found: Unfit) -> None:
        self.location = found.location
        super().__init__(str(found))


def converted(value: Any) -> Any:
    """What pydantic does not know, as something that it does: the `fallback` of its serializers.

    Scalars and arrays of numpy, tensors, and everything else that has a `tolist()`. Raises
    `TypeError` for all others.
    """
    if callable(to_list := getattr(value, "tolist", None)):
        listed = to_list()
        # A `longdouble` gives itself: Python has no type that holds it.
        return float(value) if type(listed) is type(value) else listed
    if isinstance(value, Fraction):
        return str(value)  # as pydantic does by itself from 2.11 on
    raise TypeError(f"is of type {type(value).__name__}, which JSON does not have")


def plain(value: Any) -> Any:
    """The same as objects, lists, texts, numbers, booleans and None. Raises `UnfitValue`.

    Models and dataclasses become objects, values of numpy numbers and lists.
    """
    try:
        made = to_jsonable_python(value, fallback=converted, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, TypeError) as error:
        raise refused(value, error) from error
    if (found := infinite(made)) is not None:
        raise UnfitValue(found)
    return made


def check_finite(value: BaseModel) -> None:
    """Raises `pydantic.ValidationError` at the first number that is infinite or not a number.

    For input: JSON has no infinity, but `1e999` is a JSON number.
    """
    if (found := infinite(value)) is not None:
        raise ValidationError.from_exception_data(
            type(value).__name__, [{"type": "finite_number", "loc": found.location, "input": None}]
        )


def infinite(value: Any) -> Unfit | None:
    """The first number in a value that is infinite or nan; None if all are finite."""
    return _find(value, (), numbers=True)


def refused(value: Any, error: BaseException) -> UnfitValue:
    """Why a serializer that raised `error` did not take `value`, with the key where it is found."""
    found = _find(value, (), numbers=False)
    return UnfitValue(found or Unfit((), f"has no form in JSON: {error}"))


def _find(value: Any, location: Location, *, numbers: bool) -> Unfit | None:
    """`numbers`: only numbers are looked at, not whether the rest can be written."""
    if value is None or isinstance(value, str | bool | int):
        return None
    if isinstance(value, float | Decimal):
        if math.isfinite(value):
            return None
        shown = "infinite" if not math.isnan(value) else "nan"
        return Unfit(location, f"is {shown}, which JSON does not have: write None or a number")
    if len(location) > _DEEPEST:
        return Unfit(location[:3], "is nested too deep, or contains itself")
    children = _children(value)
    if children is None:
        return _leaf(value, location, numbers=numbers)
    for step, child in children:
        if (found := _find(child, (*location, step), numbers=numbers)) is not None:
            return found
    return None


def _children(value: Any) -> Iterable[tuple[str | int, Any]] | None:
    """What is in it, by key or place; None for what has nothing in it."""
    if isinstance(value, BaseModel):
        return _fields(value)
    if isinstance(value, Mapping):
        return [(str(key), child) for key, child in value.items()]
    if isinstance(value, list | tuple | Set):
        return enumerate(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(each.name, getattr(value, each.name)) for each in dataclasses.fields(value)]
    return None


def _fields(model: BaseModel) -> list[tuple[str | int, Any]]:
    """Those that pydantic writes by itself: what an author's serializer makes of nan is theirs."""
    written = _written(type(model))
    if written is None:
        return []
    found: list[tuple[str | int, Any]] = []
    for name, child in model:
        key = written.fields.get(name, written.others and name)
        if key is not None:
            found.append((key, child))
    found += [(key, getattr(model, name)) for name, key in written.computed]
    return found


class _Written(NamedTuple):
    """What pydantic writes by itself of a model: each field's key, None where it does not."""

    fields: dict[str, str | None]
    others: Literal[True] | None
    """Whether it does so with members that are no fields."""
    computed: tuple[tuple[str, str], ...]


@functools.lru_cache(maxsize=256)
def _written(cls: type[BaseModel]) -> _Written | None:
    """Found out once for each class: every input is looked at."""
    decorators = cls.__pydantic_decorators__
    if decorators.model_serializers or cls.model_config.get("ser_json_inf_nan") == "strings":
        return None
    theirs = {name for one in decorators.field_serializers.values() for name in one.info.fields}
    own = (PlainSerializer, WrapSerializer)
    fields: dict[str, str | None] = {}
    for name, field in cls.model_fields.items():
        left_out = field.exclude or any(isinstance(one, own) for one in field.metadata)
        if left_out or name in theirs or "*" in theirs:
            fields[name] = None
        else:
            fields[name] = field.serialization_alias or field.alias or name
    computed = cls.model_computed_fields
    return _Written(
        fields,
        None if "*" in theirs else True,
        tuple((name, one.alias or name) for name, one in computed.items()),
    )


def _leaf(value: Any, location: Location, *, numbers: bool) -> Unfit | None:
    try:
        if callable(getattr(value, "tolist", None)):
            return _find(converted(value), location, numbers=numbers)
        if not numbers:
            to_json(value)
    except Exception:  # noqa: BLE001 — what an author's object does when it is looked at
        if isinstance(value, bytes | bytearray):
            return Unfit(location, "is bytes that are no text: write a File, or base64")
        kind = type(value).__name__
        reason = f"is of type {kind}, which JSON does not have: write a number, text, list or dict"
        return Unfit(location, reason)
    return None
