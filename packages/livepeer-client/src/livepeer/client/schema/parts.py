"""The parts of a schema about one value, by a reader that no schema keeps busy or breaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

STEPS: Final = 64
"""References followed, and choices looked into, for one part: more than any schema needs."""

_NOTHING: Final[Mapping[str, Any]] = {}
_NULL: Final = {"type": "null"}


class SchemaParts:
    """Reads a schema that somebody else wrote. What it does not understand is an empty part."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._known: dict[int, Mapping[str, Any]] = {}

    def of(self, schema: Any) -> Mapping[str, Any]:
        """The part itself: references followed, `null` branches left out."""
        if schema is None:
            return _NOTHING
        known = self._known.get(id(schema))  # parts live as long as the root does
        if known is None:
            known = self._known[id(schema)] = _Walk(self.root).at(schema)
        return known

    def property(self, part: Mapping[str, Any], key: str) -> Any:
        properties = part.get("properties")
        if isinstance(properties, Mapping) and key in properties:
            return properties[key]
        return part.get("additionalProperties")


class _Walk:
    """One look, which has a number of steps and no more."""

    def __init__(self, root: Any) -> None:
        self._root, self._left = root, STEPS

    def at(self, schema: Any) -> Mapping[str, Any]:
        while isinstance(schema, Mapping) and self._left > 0:
            self._left -= 1
            reference = schema.get("$ref")
            if isinstance(reference, str) and reference.startswith("#/"):
                schema = self._target(reference[2:])
                continue
            branches = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
            if isinstance(branches, list) and "properties" not in schema:
                real = [each for each in branches[:STEPS] if each != _NULL]
                binary = [each for each in real if is_file(self.at(each))]
                if binary or len(real) == 1:
                    schema = (binary or real)[0]
                    continue
            return schema
        return _NOTHING

    def _target(self, pointer: str) -> Any:
        target = self._root
        for key in pointer.split("/")[:STEPS]:
            if not isinstance(target, Mapping):
                return None
            target = target.get(key.replace("~1", "/").replace("~0", "~"))
        return target


def is_file(part: Any) -> bool:
    """Does it stand for the bytes of a file, written as text?"""
    if not isinstance(part, Mapping):
        return False
    return (
        part.get("format") in ("base64", "binary", "byte", "data-uri", "base64url")
        or part.get("contentEncoding") == "base64"
        or "contentMediaType" in part
    )


def wants_data_uri(part: Mapping[str, Any]) -> bool:
    return "contentMediaType" in part or part.get("format") == "data-uri"


def media_type(part: Mapping[str, Any]) -> str | None:
    kind = part.get("contentMediaType")
    return kind if isinstance(kind, str) else None
