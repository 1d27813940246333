"""The schema of a capability, by which an input is checked before anything is sent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from livepeer.client.exceptions import InvalidInputError
from livepeer.client.schema import validation
from livepeer.client.schema.parts import is_file
from livepeer.client.types import FieldError
from livepeer.trickle.text import printable

logger = logging.getLogger(__name__)

_TOLD: Final = 300
"""Letters about one field."""
_SHORT: Final = 60

_LIMITS: Final = {
    "maxLength": ("characters", "most"),
    "minLength": ("characters", "least"),
    "maxItems": ("items", "most"),
    "minItems": ("items", "least"),
}
"""How many of what, and which way: jsonschema names the whole value in place of the limit."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a capability takes and returns, as JSON Schemas.

    `input` describes its input, or the parameters of a live one; `output` the result, empty if that
    is not known. `document` is the whole answer to `POST /schema` (id, version, description, ...).
    """

    document: Mapping[str, Any] = field(repr=False)
    input: Mapping[str, Any]
    output: Mapping[str, Any] = field(default_factory=dict)
    _sound: list[bool] = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def read(cls, document: Any) -> Schema | None:
        """The schema in a runner's answer to `POST /schema`, None if there is none."""
        if not isinstance(document, Mapping):
            return None
        wanted = document.get("params" if document.get("type") == "live" else "input")
        output = document.get("output")
        if not isinstance(wanted, Mapping):
            return None
        return cls(document, wanted, output if isinstance(output, Mapping) else {})

    def check(self, value: Any, *, capability: str) -> None:
        """Raise `InvalidInputError` with the fields of `value` that do not fit; `capability` is the
        name that the error gives.

        A schema that is not one, or that costs too much to follow, refuses nothing: the pipeline
        decides. Takes 0.5 s of CPU time at most, and usually 100 microseconds.
        """
        if not self._sound:
            self._sound.append(validation.is_schema(self.input))
        if not self._sound[0]:
            return
        try:
            found = validation.errors(self.input, value, is_file)
        except validation.Unjudged as why:
            logger.debug("the pipeline judges the input of %r: %s", capability, why)
            return
        fields = [FieldError(printable(_place(error), _TOLD), _told(error)) for error in found]
        if fields:
            told = "; ".join(map(str, fields))
            raise InvalidInputError(
                f"the input does not fit {capability!r}: {told}",
                fields=fields,
                capability=capability,
            )


def _told(error: Any) -> str:
    """What is wrong, by name and number rather than by the whole value or a pattern."""
    value, instance = error.validator_value, error.instance
    if error.validator in ("anyOf", "oneOf"):
        # Of a field that may be left out, the other branch is the one that was meant.
        meant = [each for each in error.context or () if each.validator_value != "null"]
        if len(meant) == 1:
            return _told(meant[0])
    if isinstance(instance, str) and is_file(error.schema):
        name = f"Path({instance!r})" if len(instance) <= _SHORT else "a Path"
        return printable(
            f"a file is passed as {name}, bytes or an open file; this text is none of base64,"
            " a data: URI and a URL",
            _TOLD,
        )
    if error.validator in _LIMITS:
        unit, way = _LIMITS[error.validator]
        return f"has {len(instance):,} {unit}, and at {way} {value:,} are taken"
    message: str = error.message
    if isinstance(instance, (str, list, dict)) and len(message) > _TOLD:
        message = f"{message[:_SHORT]}… {message[-2 * _SHORT :]}"
    return printable(message, _TOLD)


def _place(error: Any) -> str:
    place = ".".join(str(part) for part in error.path)
    if error.validator == "required" and isinstance(error.validator_value, list):
        # The missing name stands in the text alone; all that come before it in the list are there.
        missing = [name for name in error.validator_value if name not in error.instance]
        named = next((name for name in missing if repr(name) in error.message), "")
        place = f"{place}.{named}" if place else named
    return place
