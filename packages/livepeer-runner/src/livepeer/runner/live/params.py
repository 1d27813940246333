"""The parameters of a live class: their type, and how an update becomes the next value."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import types
import typing
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import DEFAULT_REF_TEMPLATE

from livepeer.runner.author.jsonable import infinite
from livepeer.runner.author.signature.paths import check_schema
from livepeer.runner.errors import FieldError, InvalidInput, PipelineError, invalid
from livepeer.runner.exceptions import SignatureError
from livepeer.runner.live.unknown import StrictSchema, keys_of, unknown_in, unknown_to

LARGEST_SHOWN = 16 * 1024
"""Bytes of parameters that a status event repeats; an event has 64 KiB in all."""
LARGEST = 4 * 1024 * 1024
"""Bytes of all parameters of a stream as JSON."""
DEEPEST = 64


@dataclass(frozen=True, slots=True)
class ParamValues:
    """Parameters at one moment: what callers have given, as JSON, and what the hooks see.

    An update is merged into what was given and all of it is validated again, so that validators
    meet what they were written for, and not their own results.
    """

    value: Any
    given: dict[str, Any] = field(repr=False)


class ParamsType:
    """The type of a class's parameters, as its hint `params: MyParams` says.

    With `params: dict`, or no hint, they are untyped: any JSON object, and `model` is None.

    Parameters are never changed in place: an update makes new ones, so that a hook that holds the
    old ones goes on with them.
    """

    def __init__(self, model: type[BaseModel] | None) -> None:
        self.model = model

    @classmethod
    def of(cls, pipeline: type) -> ParamsType:
        """Read the class's hint. Raises `SignatureError` if it is neither a model nor dict."""
        hint = _hint(pipeline)
        if hint is Any or hint is dict or typing.get_origin(hint) in (dict, Mapping):
            return cls(None)
        if isinstance(hint, type) and issubclass(hint, BaseModel):
            check_schema(hint.model_json_schema(), f"{pipeline.__name__}.params")
            return cls(hint)
        raise SignatureError(
            f"{pipeline.__name__}.params is {hint!r}: write a pydantic model, or dict"
        )

    def first(self, given: object) -> ParamValues:
        """The parameters of a new stream. `given` is what its caller sent; None counts as `{}`.

        Raises `InvalidInput` with the fields, `PipelineError` if an author's validator breaks.
        """
        return self._values({} if given is None else self._mapping(given))

    def merged(self, current: ParamValues, update: object) -> ParamValues:
        """`current` with the keys of `update`; models within the model are merged as well.

        Raises as `first` does; `current` stays as it is.
        """
        changes = self._mapping(update)
        if self.model is None:
            return self._values({**current.given, **changes})
        return self._values(_merge(current.value, current.given, changes))

    def dump(self, values: ParamValues) -> dict[str, Any]:
        """The parameters as JSON has them; a value that JSON has no form for becomes a text."""
        value = values.value
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json", fallback=str)
        shown: dict[str, Any] = json.loads(json.dumps(value, default=str), parse_constant=str)
        return shown

    def shown(self, values: ParamValues) -> tuple[dict[str, Any] | None, str]:
        """For a status event: the parameters (None if they are too large), and their hash."""
        dumped = self.dump(values)
        text = json.dumps(dumped, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return (dumped if len(text) <= LARGEST_SHOWN else None), digest

    def schema(self, ref_template: str = DEFAULT_REF_TEMPLATE) -> dict[str, Any]:
        """JSON Schema of the parameters; `ref_template` says where models in it are referred to."""
        if self.model is None:
            return {"type": "object", "additionalProperties": True}
        return self.model.model_json_schema(
            ref_template=ref_template, schema_generator=StrictSchema
        )

    def _mapping(self, given: object) -> dict[str, Any]:
        if isinstance(given, str):  # a gateway's callers write parameters as text
            with suppress(ValueError, RecursionError):
                given = json.loads(given)
        if not isinstance(given, Mapping):
            raise InvalidInput(f"parameters are a JSON object, not {type(given).__name__}")
        # A caller may send {"params": {...}}, as at the start, where an update is the object alone.
        inner = given.get("params")
        if len(given) == 1 and isinstance(inner, Mapping) and not self._has_own_params():
            return dict(inner)
        return dict(given)

    def _has_own_params(self) -> bool:
        return self.model is not None and any(
            "params" in keys for keys in keys_of(self.model).values()
        )

    def _values(self, given: dict[str, Any]) -> ParamValues:
        _check_bounds(given)
        if self.model is None:
            return ParamValues(given, given)
        try:
            value = self.model.model_validate(given)
        except ValidationError as error:
            # The one that is missing may be there, misspelt.
            raise _refused(unknown_to(self.model, given), invalid(error)) from error
        except Exception as error:
            # A validator of the author's own. Nothing has changed, and the caller is told.
            raise PipelineError(f"a validator raised {type(error).__name__}") from error
        if unknown := unknown_in(value, given):
            raise _refused(unknown)
        return ParamValues(value, given)


def _refused(unknown: list[FieldError], other: InvalidInput | None = None) -> InvalidInput:
    """An error that tells unknown names first, and then what else is wrong."""
    names = {one.name for one in unknown}
    rest = [one for one in other.fields if one.name not in names] if other is not None else []
    told = [f"{one.name}: {one.message}" for one in unknown[:3]]
    if other is not None and rest:
        told.append(other.message)
    return InvalidInput("; ".join(told), fields=(*unknown, *rest))


def _check_bounds(given: dict[str, Any]) -> None:
    """Bounds what updates can add up to, so that all of it can be shown and merged."""
    level: list[Any] = [given]
    for _ in range(DEEPEST):
        level = [
            child
            for one in level
            for child in (one.values() if isinstance(one, dict) else one)
            if isinstance(child, dict | list)
        ]
        if not level:
            break
    else:
        raise InvalidInput(f"parameters are nested over {DEEPEST} deep")
    if (found := infinite(given)) is not None:
        raise InvalidInput(str(found), field=".".join(map(str, found.location)))
    size = len(json.dumps(given, default=str))
    if size > LARGEST:
        raise InvalidInput(f"parameters have {size} bytes as JSON, the limit is {LARGEST}")


def _merge(
    current: BaseModel, given: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """`given` with the changes laid over it; a field may go by another alias in each."""
    fields, keys = type(current).model_fields, keys_of(type(current))
    owner = {key: name for name, known in keys.items() for key in known}
    merged = dict(given)
    for name, known in keys.items():
        if fields[name].default_factory is not None and known and given.keys().isdisjoint(known):
            # A drawn seed or a fresh id stays what it was.
            merged[known[0]] = getattr(current, name)
    for key, value in changes.items():
        before = None
        if (field_name := owner.get(key)) is not None:
            for known_key in keys[field_name]:
                before = merged.pop(known_key, before)
            present = getattr(current, field_name)
            nested = isinstance(present, BaseModel) and isinstance(value, Mapping)
            if nested and _one_model(fields[field_name].annotation):
                value = _merge(present, before if isinstance(before, Mapping) else {}, value)
        merged[key] = value
    return merged


def _one_model(annotation: Any) -> bool:
    """Whether a value can only be of one model; of several, an update may choose another one."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        models = [one for one in typing.get_args(annotation) if one is not type(None)]
        return len(models) == 1 and _one_model(models[0])
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _hint(pipeline: type) -> Any:
    """The nearest hint of `params`; Any if only the base class has one."""
    for owner in pipeline.__mro__:
        # Of LivePipeline itself it says nothing: it is Any, for every subclass to narrow.
        if owner.__module__ == "livepeer.runner.author.live_pipeline":
            break
        hints = _own_hints(owner)
        if "params" in hints:
            return _resolved(pipeline, owner, hints["params"])
    return Any


def _resolved(pipeline: type, owner: type, written: object) -> Any:
    # Of this one alone: the hints of other attributes may be for type checkers only.
    alone = type("Alone", (), {"__annotations__": {"params": written}})
    module = sys.modules.get(owner.__module__)
    try:
        return typing.get_type_hints(alone, vars(module) if module else {}, dict(vars(owner)))[
            "params"
        ]
    except NameError as error:
        raise SignatureError(
            f"{pipeline.__name__}.params: {error}; define the model at the top of its module "
            "(not under `if TYPE_CHECKING:`), or inside the class"
        ) from error


def _own_hints(cls: type) -> Mapping[str, object]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)
