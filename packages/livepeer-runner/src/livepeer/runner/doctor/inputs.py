"""Inputs of a JSON Schema: one to begin with, its neighbours that fit, and those that do not.

Values change at one place at a time from an input that works, so that an answer tells of that one
change: in nested models, unions and lists too. What was generated is checked by `fits`: a neighbour
of which that cannot be told is left out. Formats and patterns stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from livepeer.runner.doctor.fits import fits, is_well_formed, resolved

DEEPEST = 6
MOST_STEPS = 5_000
MOST = 200
"""Neighbours that are looked at."""
LONGEST = 10_000
WORDS: dict[str, Any] = {"string": "text", "boolean": True, "null": None}
WRONG: tuple[Any, ...] = ({"no": "such"}, ["no such"], "no such", 0.5, None)
"""The first that fits no branch is a value of another type. No text that is a number, no number
that is a truth: validators take these."""
_FILES = {
    "image": (
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEA"
        "G7buVgAAAABJRU5ErkJggg=="
    ),
    "audio": (
        "data:audio/wav;base64,UklGRiYAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQIAAAAAAA=="
    ),
    "text": "data:text/plain;base64,aGVsbG8=",
}
"""One white pixel; a tenth of a millisecond of silence; a word."""
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

Node = Mapping[str, Any]
InputChanges = Callable[["InputSchema", Node, Any, int], Iterator[Any]]


class _Unknown(Exception):
    """No value can be made by what is known here."""


class InputSchema:
    """A schema whose top is an object, with its definitions."""

    def __init__(self, schema: Node) -> None:
        self.well_formed = is_well_formed(schema)
        self.top = schema
        self.definitions: Node = schema.get("$defs", {}) if self.well_formed else {}
        self._left = MOST_STEPS

    def first(self) -> dict[str, Any] | None:
        """The smallest object that fits, None where that cannot be made."""
        if not self.well_formed:
            return None
        self._left = MOST_STEPS
        try:
            made = self._smallest(self.top, 0)
        except _Unknown:
            return None
        return made if isinstance(made, dict) and self.fits(made) else None

    def fits(self, value: Any) -> bool | None:
        return fits(self.top, value, self.definitions)

    def valid(self, base: Mapping[str, Any], most: int) -> list[dict[str, Any]]:
        """Neighbours of `base` that fit: choices, bounds, branches, optional fields left out."""
        return self._checked(base, _others, True, most)

    def mutants(self, base: Mapping[str, Any], most: int) -> list[dict[str, Any]]:
        """Neighbours of `base` that do not: a field missing or unknown, of another type, beyond its
        bounds or choices."""
        return self._checked(base, _misfits, False, most)

    def _checked(
        self, base: Mapping[str, Any], changes: InputChanges, wanted: bool, most: int
    ) -> list[dict[str, Any]]:
        if not self.well_formed or self.fits(dict(base)) is not True:
            return []
        self._left = MOST_STEPS
        found: list[dict[str, Any]] = []
        for one in islice(self._changed(self.top, dict(base), changes, 0), MOST):
            if isinstance(one, dict) and one not in found and self.fits(one) is wanted:
                found.append(one)
        # Spread over all of them, not only the first fields.
        return found if len(found) <= most else [found[i * len(found) // most] for i in range(most)]

    def _changed(self, node: Node, value: Any, changes: InputChanges, depth: int) -> Iterator[Any]:
        """`value` with one change: of its own, then of what is in it."""
        self._left -= 1
        if depth > DEEPEST or self._left < 0:
            return
        for branch in self._branches(node, value):
            yield from changes(self, branch, value, depth)
            if isinstance(value, dict):
                for name, field in _fields(branch).items():
                    if name in value:
                        for one in self._changed(field, value[name], changes, depth + 1):
                            yield {**value, name: one}
            elif isinstance(value, list) and value:
                item = _item(branch, 0)
                for one in self._changed(item, value[0], changes, depth + 1):
                    yield [one, *value[1:]]

    def _branches(self, node: Node, value: Any) -> Iterator[Node]:
        """The plain schemas that describe this value: of a union those that it fits."""
        node = self._resolved(node)
        union = node.get("anyOf") or node.get("oneOf")
        if union is None:
            yield node
            return
        for branch in union:
            if fits(branch, value, self.definitions):
                yield from self._branches(branch, value)

    def _resolved(self, node: Node) -> Node:
        for _ in range(DEEPEST):
            if "$ref" in node:
                target = resolved(node, self.definitions)
                if not isinstance(target, Mapping):
                    return {}
                node = {**target, **{key: one for key, one in node.items() if key != "$ref"}}
            elif isinstance(whole := node.get("allOf"), list) and len(whole) == 1:
                node = {**{key: one for key, one in node.items() if key != "allOf"}, **whole[0]}
            else:
                return node
        return {}

    def _smallest(self, node: Node, depth: int) -> Any:
        self._left -= 1
        node = self._resolved(node)
        if depth > DEEPEST or self._left < 0:
            raise _Unknown
        for key in ("const", "default"):
            if key in node:
                return node[key]
        for key in ("examples", "enum"):
            if node.get(key):
                return node[key][0]
        if union := node.get("anyOf") or node.get("oneOf"):
            for branch in union:
                try:
                    return self._smallest(branch, depth + 1)
                except _Unknown:
                    pass
            raise _Unknown
        kind = node.get("type")
        if isinstance(kind, list):
            kind = kind[0]
        match kind:
            case "object":
                required = node.get("required", ())
                fields = _fields(node)
                return {name: self._smallest(fields.get(name, {}), depth + 1) for name in required}
            case "array":
                wanted = node.get("minItems", len(node.get("prefixItems", ())))
                return [self._smallest(_item(node, i), depth + 1) for i in range(min(wanted, 100))]
            case "string":
                return _text(node)
            case "integer" | "number":
                return _number(node, 1 if kind == "integer" else 1.0)
            case str() if kind in WORDS:
                return WORDS[kind]
        raise _Unknown

    def smallest(self, node: Node, depth: int) -> Iterator[Any]:
        """One value of a part, if one can be made."""
        try:
            yield self._smallest(node, depth)
        except _Unknown:
            pass


def _fields(node: Node) -> dict[str, Node]:
    properties = node.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    return {name: field for name, field in properties.items() if isinstance(field, Mapping)}


def _item(node: Node, position: int) -> Node:
    first = node.get("prefixItems", [])
    found = first[position] if position < len(first) else node.get("items", {})
    return found if isinstance(found, Mapping) else {}


def _text(node: Node) -> str:
    if node.get("format") == "file" or "contentMediaType" in node:
        family = str(node.get("contentMediaType", "text/plain")).partition("/")[0]
        if family == "video":
            raise _Unknown
        return _FILES.get(family, _FILES["text"])
    if "format" in node:
        if node["format"] not in _FORMATS:
            raise _Unknown
        return _FORMATS[node["format"]]
    shortest, longest = node.get("minLength", 0), node.get("maxLength", LONGEST)
    word: str = WORDS["string"]
    return "a" * min(shortest, LONGEST) if shortest > len(word) else word[:longest]


def _number(node: Node, plain: float) -> float:
    step = node.get("multipleOf", 1 if isinstance(plain, int) else 0.5)
    candidates = [plain, 0 * plain]
    candidates += [node[key] for key in ("minimum", "maximum") if key in node]
    if "exclusiveMinimum" in node:
        candidates.append(node["exclusiveMinimum"] + step)
    if "exclusiveMaximum" in node:
        candidates.append(node["exclusiveMaximum"] - step)
    if "multipleOf" in node:
        candidates.append(step)
    low, high = (
        node.get(f"exclusive{key}", node.get(key.lower())) for key in ("Minimum", "Maximum")
    )
    if low is not None and high is not None and isinstance(plain, float):
        candidates.append((low + high) / 2)
    bounds = {key: node[key] for key in _BOUNDS & node.keys()}
    for one in candidates:
        if fits(bounds, one, {}):
            return one
    raise _Unknown


_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}


def _others(schema: InputSchema, node: Node, value: Any, depth: int) -> Iterator[Any]:
    """Other values of this one part that may fit."""
    yield from node.get("enum", ())
    match value:
        case bool():
            yield not value
        case int() | float():
            yield from (node[key] for key in ("minimum", "maximum") if key in node)
            step = node.get("multipleOf", 1)
            yield from (value + step, value - step)
        case str() if node.keys() & {"minLength", "maxLength"} and "format" not in node:
            yield from (
                ("a" * node[key]) for key in ("minLength", "maxLength") if _is_short(node, key)
            )
        case list():
            yield value[:-1]
            for made in schema.smallest(_item(node, len(value)), depth + 1):
                yield [*value, made]
        case dict():
            required = node.get("required", ())
            for name, field in _fields(node).items():
                if name in value and name not in required:
                    yield {key: one for key, one in value.items() if key != name}
                for branch in _union(field):
                    for made in schema.smallest(branch, depth + 1):
                        yield {**value, name: made}


def _union(field: Node) -> list[Node]:
    """Its branches; itself where it has none."""
    found = field.get("anyOf") or field.get("oneOf")
    return [field] if found is None else [one for one in found if isinstance(one, Mapping)]


def _misfits(schema: InputSchema, node: Node, value: Any, depth: int) -> Iterator[Any]:
    """Values in place of this one part that may not fit."""
    if depth > 0:
        yield from WRONG
    match value:
        case int() | float() if not isinstance(value, bool):
            step = node.get("multipleOf", 1)
            yield from (node["minimum"] - step,) if "minimum" in node else ()
            yield from (node["maximum"] + step,) if "maximum" in node else ()
            yield from (
                node[key] for key in ("exclusiveMinimum", "exclusiveMaximum") if key in node
            )
            if "multipleOf" in node:
                yield value + step / 2
        case str():
            if _is_short(node, "maxLength"):
                yield "a" * (node["maxLength"] + 1)
            if _is_short(node, "minLength") and node["minLength"] > 0:
                yield "a" * (node["minLength"] - 1)
            yield "none of these choices"
        case list():
            if node.get("minItems", 0) > 0:
                yield value[: node["minItems"] - 1]
            if value and 0 <= node.get("maxItems", MOST) < 100:
                yield [value[0]] * (node["maxItems"] + 1)
        case dict():
            for name in node.get("required", ()):
                yield {key: one for key, one in value.items() if key != name}
            if node.get("additionalProperties") is False:
                yield {**value, "doctor_unknown_field": 1}


def _is_short(node: Node, key: str) -> bool:
    return isinstance(node.get(key), int) and 0 <= node[key] < LONGEST
