"""Parameters that a model does not have: refused, with the name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from livepeer.runner.errors import FieldError

MOST_TOLD = 20
"""Names in an answer, however many were sent."""
LONGEST_NAME = 64
"""Letters of a name that are compared and repeated."""


def keys_of(model: type[BaseModel]) -> dict[str, list[str]]:
    """The keys under which pydantic takes each field."""
    config = model.model_config
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    by_alias = config.get("validate_by_alias", True)
    found = {}
    for name, info in model.model_fields.items():
        keys = [one for one in _aliases(info) if isinstance(one, str)] if by_alias else []
        if (info.validation_alias is None or by_name) and name not in keys:
            keys.append(name)
        found[name] = keys
    return found


def unknown_to(model: type[BaseModel], given: Mapping[str, Any]) -> list[FieldError]:
    """The keys of `given` that a model would leave out without a word, as far as is known."""
    return _limited(_extra(model, given, ()))


def unknown_in(value: BaseModel, given: Mapping[str, Any]) -> list[FieldError]:
    """The keys of `given` that `value`, made of it, left out; in the models within it too."""
    return _limited(_all(value, given, ()))


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The name that is near, or the names that there are; "" if there are none."""
    near = difflib.get_close_matches(name[:LONGEST_NAME], known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    shown = sorted(known)[:MOST_TOLD]
    return f"there {'is' if len(shown) == 1 else 'are'} {', '.join(shown)}" if shown else ""


def refuses_unknown(model: type[BaseModel]) -> bool:
    """Whether keys that a model does not have are a mistake.

    They are not if the author says what becomes of them (`extra`), or has a validator that sees
    them before they are left out.
    """
    decorators = model.__pydantic_decorators__.model_validators.values()
    sees_all = any(one.info.mode in ("before", "wrap") for one in decorators)
    extra = model.model_config.get("extra", "forbid")
    return extra == "forbid" and not sees_all and not model.__pydantic_root_model__


class StrictSchema(GenerateJsonSchema):
    """The JSON Schema of a model; `additionalProperties` is false if unknown keys are refused."""

    def model_schema(self, schema: Any) -> dict[str, Any]:
        made = super().model_schema(schema)
        model = schema["cls"]
        if refuses_unknown(model) and made.get("properties", {}).keys() == _keys(model):
            made.setdefault("additionalProperties", False)
        return made


def _all(value: object, given: object, path: tuple[str, ...]) -> Iterator[FieldError]:
    if isinstance(given, Mapping) and isinstance(value, BaseModel):
        model = type(value)
        if model.__pydantic_root_model__:
            yield from _all(value.root, given, path)  # type: ignore[attr-defined]
            return
        yield from _extra(model, given, path)
        for name, keys in keys_of(model).items():
            for key in keys:
                if isinstance(given.get(key), Mapping | list):
                    yield from _all(getattr(value, name), given[key], (*path, key))
    elif isinstance(given, Mapping) and isinstance(value, Mapping):
        for key, one in given.items():
            if isinstance(one, Mapping | list) and key in value:
                yield from _all(value[key], one, (*path, str(key)))
    elif isinstance(given, list) and isinstance(value, list | tuple) and len(given) == len(value):
        for number, (one, made) in enumerate(zip(given, value, strict=True)):
            if isinstance(one, Mapping | list):
                yield from _all(made, one, (*path, str(number)))


def _extra(
    model: type[BaseModel], given: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[FieldError]:
    if not refuses_unknown(model):
        return
    known = _keys(model)
    for key in given:
        if key not in known:
            name = str(key)[:LONGEST_NAME]
            message = f"there is no such parameter: {did_you_mean(name, known)}".rstrip(": ")
            yield FieldError(".".join((*path, name)), message, "extra_forbidden")


def _keys(model: type[BaseModel]) -> set[str]:
    """Every key that means something, the first of a path into a value too."""
    heads = {
        str(one.path[0])
        for info in model.model_fields.values()
        for one in _aliases(info)
        if isinstance(one, AliasPath)
    }
    return heads.union(*keys_of(model).values())


def _aliases(info: FieldInfo) -> list[str | AliasPath]:
    alias = info.validation_alias
    if alias is None:
        return []
    return list(alias.choices) if isinstance(alias, AliasChoices) else [alias]


def _limited(found: Iterator[FieldError]) -> list[FieldError]:
    return [one for one, _ in zip(found, range(MOST_TOLD), strict=False)]
