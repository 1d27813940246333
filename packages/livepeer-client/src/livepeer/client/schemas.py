"""The schema of a capability: fetched through it, and used before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from livepeer.client.exceptions import InvalidInputError
from livepeer.client.types import FieldError


@dataclass(frozen=True, slots=True)
class Schema:
    """What a capability takes and gives: JSON Schemas of its input and its output.

    `document` is all that `POST /schema` answered (id, version, description, and so on).
    """

    document: Mapping[str, Any] = field(repr=False)
    input: Mapping[str, Any]
    output: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Any) -> Schema | None:
        """From a runner's schema document, or None for something that is none."""
        if not isinstance(document, Mapping) or not isinstance(document.get("input"), Mapping):
            return None
        output = document.get("output")
        return cls(document, document["input"], output if isinstance(output, Mapping) else {})

    def check(self, value: Any, *, capability: str) -> None:
        """Raise `InvalidInputError` with every field that does not fit, before anything is sent."""
        from jsonschema import exceptions, validators
        from referencing import Registry
        from referencing.exceptions import Unresolvable

        kind: Any = validators.validator_for(self.input, default=validators.Draft202012Validator)
        # A registry of its own: the default one would fetch whatever a foreign schema refers to.
        validator = kind(self.input, registry=Registry())
        try:
            kind.check_schema(self.input)
            found = sorted(
                validator.iter_errors(value), key=lambda error: list(map(str, error.path))
            )
        except (exceptions.SchemaError, Unresolvable):
            return  # a schema that is none refuses nobody
        fields = [FieldError(_place(error), error.message[:300]) for error in found]
        if fields:
            told = "; ".join(map(str, fields))
            raise InvalidInputError(
                f"the input does not fit {capability!r}: {told}",
                fields=fields,
                capability=capability,
            )


def _place(error: Any) -> str:
    place = ".".join(str(part) for part in error.path)
    if error.validator == "required":
        # The missing name stands in the text alone; all that come before it in the list are there.
        missing = [name for name in error.validator_value if name not in error.instance]
        named = next((name for name in missing if repr(name) in error.message), "")
        place = f"{place}.{named}" if place else named
    return place
