"""From the parameters of `predict` to one input model."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.fields import FieldInfo

from livepeer.runner.author.jsonable import check_finite
from livepeer.runner.author.signature.function import (
    each_hint,
    is_bare_bytes,
    shown,
    strip_annotated,
)
from livepeer.runner.author.signature.paths import (
    PathFile,
    as_paths,
    check_default,
    check_schema,
    path_files,
    sent,
)
from livepeer.runner.author.signature.schema import schema_nodes
from livepeer.runner.exceptions import SignatureError

CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())
_EXAMPLES = "str, int, float, bool, list[str], a BaseModel, Image, ..."


class Inputs:
    """The input model and how its values reach the parameters.

    `single` names the parameter that takes the whole model, where `predict` takes one `BaseModel`.
    """

    def __init__(
        self,
        parameters: list[inspect.Parameter],
        hints: Mapping[str, Any],
        described: Mapping[str, str],
        *,
        name: str,
        where: str,
    ) -> None:
        for parameter in parameters:
            _check(parameter, hints, where)
        hints = {
            parameter.name: sent(hints[parameter.name], where, f"parameter `{parameter.name}`")
            for parameter in parameters
        }
        self.takes_paths = any(
            one is PathFile for hint in hints.values() for one in each_hint(hint)
        )
        self.single: str | None = None
        self._default: BaseModel | None = None
        model = _single_model(parameters, hints)
        if model is not None:
            (parameter,) = parameters
            self.single = parameter.name
            self.model = model
            if isinstance(parameter.default, BaseModel):
                self._default = parameter.default
            _check_schema(parameter.name, model, where)
        else:
            self.model, self._attributes = _create(parameters, hints, described, name, where)
        # Our own model refuses infinity by its configuration; models of others, and Any, do not.
        schema = self.model.model_json_schema()
        check_schema(schema, where)
        self._may_be_infinite = (
            model is not None or "$defs" in schema or any(map(_is_any, schema_nodes(schema)))
        )

    def validate_json(self, body: bytes | str) -> BaseModel:
        """The validated input; an empty body is `{}`. Raises `pydantic.ValidationError`."""
        if not body.strip():
            return self.validate({})
        return self._finite(self.model.model_validate_json(body))

    def validate(self, value: Any) -> BaseModel:
        """The same for Python values: parts of a form, arguments in a test, a `File`."""
        if self._default is not None and value == {}:
            return self._default.model_copy(deep=True)
        return self._finite(self.model.model_validate(value))

    def _finite(self, validated: BaseModel) -> BaseModel:
        if self._may_be_infinite:
            check_finite(validated)
        return validated

    def bind(self, validated: BaseModel) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.single is not None:
            return (), {self.single: validated}
        given = {
            parameter: getattr(validated, attribute) for parameter, attribute in self._attributes
        }
        return (), as_paths(given) if self.takes_paths else given

    def path_files(self, validated: BaseModel) -> list[PathFile]:
        """The files that `bind` gives as paths."""
        if not self.takes_paths:
            return []
        attributes = (getattr(validated, attribute) for _, attribute in self._attributes)
        return list(path_files(list(attributes)))


def _check(parameter: inspect.Parameter, hints: Mapping[str, Any], where: str) -> None:
    name = parameter.name
    if parameter.kind is parameter.VAR_POSITIONAL:
        raise SignatureError(
            f"{where}: `*{name}` has no place in a JSON object; write `{name}: list[...]`"
        )
    if parameter.kind is parameter.VAR_KEYWORD:
        raise SignatureError(
            f"{where}: `**{name}` says nothing about what callers may send; write each parameter "
            f"with its type, or `{name}: dict[str, Any]`"
        )
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise SignatureError(
            f"{where}: parameter `{name}` is positional-only, but callers send names; "
            f"take the `/` out of the parameter list"
        )
    if name.startswith("_"):
        raise SignatureError(
            f"{where}: parameter `{name}` starts with an underscore; "
            f"write `{name.lstrip('_') or 'value'}`"
        )
    if name not in hints:
        raise SignatureError(
            f"{where}: parameter `{name}` has no type hint; write `{name}: str` "
            f"or what else it is ({_EXAMPLES})"
        )
    if is_bare_bytes(hints[name]):
        raise SignatureError(
            f"{where}: parameter `{name}` is {shown(strip_annotated(hints[name]))}, which JSON "
            f"cannot hold; write `{name}: File` (or Image, Audio, Video from livepeer.runner), "
            f"or pydantic's Base64Bytes"
        )


def _single_model(
    parameters: list[inspect.Parameter], hints: Mapping[str, Any]
) -> type[BaseModel] | None:
    if len(parameters) != 1:
        return None
    hint = strip_annotated(hints[parameters[0].name])
    default = parameters[0].default
    if not (isinstance(hint, type) and issubclass(hint, BaseModel)):
        return None
    # Any other default (None, Field(...)) makes it a field like others.
    return hint if default is parameters[0].empty or isinstance(default, hint) else None


def _create(
    parameters: list[inspect.Parameter],
    hints: Mapping[str, Any],
    described: Mapping[str, str],
    name: str,
    where: str,
) -> tuple[type[BaseModel], list[tuple[str, str]]]:
    fields: dict[str, Any] = {}
    attributes: list[tuple[str, str]] = []
    for parameter in parameters:
        hint = hints[parameter.name]
        _check_schema(parameter.name, hint, where)
        default = ... if parameter.default is parameter.empty else parameter.default
        info = (
            FieldInfo.from_annotation(hint)
            if default is ...
            else FieldInfo.from_annotated_attribute(hint, default)
        )
        _check_default(parameter.name, hint, info, where)
        extra: dict[str, Any] = {}
        if info.description is None and parameter.name in described:
            extra["description"] = described[parameter.name]
        attribute = parameter.name
        if hasattr(BaseModel, attribute):
            # `json`, `copy`, `schema`, ... are fine names for an input, but taken on a model.
            attribute = f"{attribute}_"
            if info.alias is None:
                extra["alias"] = parameter.name
            if info.title is None:
                extra["title"] = parameter.name.replace("_", " ").title()
        attributes.append((parameter.name, attribute))
        fields[attribute] = (Annotated[hint, Field(**extra)] if extra else hint, default)
    try:
        model: type[BaseModel] = create_model(name, __config__=CONFIG, **fields)
        model.model_json_schema()
    except (PydanticUserError, TypeError, NameError) as error:
        raise SignatureError(f"{where}: {_first_line(error)}") from error
    return model, attributes


def _check_schema(name: str, hint: Any, where: str) -> None:
    """Refuse what has no JSON form while its parameter can still be named."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an alias, say, has no meaning before it is a field
            TypeAdapter(hint).json_schema()
    except (PydanticInvalidForJsonSchema, PydanticUserError) as error:
        raise SignatureError(
            f"{where}: parameter `{name}` is {shown(strip_annotated(hint))}, which has no JSON "
            f"form; write {_EXAMPLES} ({_first_line(error)})"
        ) from error
    except (TypeError, NameError) as error:
        raise SignatureError(f"{where}: parameter `{name}`: {_first_line(error)}") from error


def _check_default(name: str, hint: Any, info: FieldInfo, where: str) -> None:
    if info.is_required():
        return
    default = info.get_default(call_default_factory=False)
    check_default(default, where, name)
    if default is None and info.default_factory is not None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            adapter.dump_json(adapter.validate_python(default))
    except ValidationError as error:
        if default is None:
            wanted = f"write `{name}: {shown(strip_annotated(hint))} | None = None`"
        else:
            wanted = error.errors(include_url=False)[0]["msg"]
        raise SignatureError(
            f"{where}: the default of parameter `{name}`, {default!r}, does not fit its type: "
            f"{wanted}"
        ) from error
    except (ValueError, TypeError, UserWarning) as error:
        raise SignatureError(
            f"{where}: the default of parameter `{name}`, {default!r}, has no JSON form; "
            f"use None and make it inside of the function"
        ) from error


def _is_any(node: Mapping[str, Any]) -> bool:
    """A schema that says nothing of the type, as pydantic writes `Any` (and `dict`, `list`)."""
    if node.get("additionalProperties") is True or node.get("items") == {}:
        return True
    properties = node.get("properties")
    said = {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"}
    return isinstance(properties, Mapping) and any(not said & set(p) for p in properties.values())


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
