"""What a new version of a pipeline changes for those who call it already (specs/evolution.md).

What a caller sends has to be taken as before, what a caller reads has to be there as before. A
change that breaks one of both needs a new major version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from livepeer.trickle.text import printable

Side = Literal["input", "output"]
DEPTH = 32
"""Levels of a schema that are compared; what is deeper counts as changed where it differs."""

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EXACT = ("pattern", "format", "const", "multipleOf", "contentMediaType", "uniqueItems")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference in words; `breaking`: callers of the old version stop working."""

    what: str
    breaking: bool

    def __str__(self) -> str:
        return f"{'breaks' if self.breaking else 'adds'}: {self.what}"


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """All differences between two schemas as `/schema` answers them, those that break first."""
    changes: list[Change] = []
    for name in ("id", "type", "streaming", "content_type"):
        if name in old and old.get(name) != new.get(name):
            what = f"{name} is {_shown(new.get(name))}, was {_shown(old.get(name))}"
            changes.append(Change(what, breaking=True))
    for name in ("input", "params", "control", "output"):
        if isinstance(old.get(name), dict):
            side: Side = "output" if name == "output" else "input"
            pair = _Pair(old[name], new.get(name), side)
            changes += pair.compare(old[name], new.get(name), name)
    told = (Change(printable(one.what), one.breaking) for one in changes)
    return sorted(dict.fromkeys(told), key=lambda change: not change.breaking)


def refusal(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """The changes that break callers without a new major version; empty where there are none."""
    breaking = [change for change in compare(old, new) if change.breaking]
    return [] if _major(new) > _major(old) else breaking


class _Pair:
    """Two schemas of one side, with the parts of them that were compared already: schemas refer to
    themselves, and each pair of parts is looked at once."""

    def __init__(self, old: Any, new: Any, side: Side) -> None:
        self._old = old
        self._new = new
        self._side = side
        self._done: set[tuple[int, int]] = set()

    def compare(self, old: Any, new: Any, where: str, depth: int = 0) -> Iterator[Change]:
        if (id(old), id(new)) in self._done:
            return
        self._done.add((id(old), id(new)))
        if depth > DEPTH or not isinstance(old, dict) or not isinstance(new, dict):
            if old != new:
                gone = new is None
                yield Change(f"{where} is {'gone' if gone else 'another one'}", breaking=True)
            return
        old, new = _resolved(old, self._old), _resolved(new, self._new)
        yield from _types(old, new, self._side, where)
        yield from _choices(old, new, self._side, where)
        yield from _bounds(old, new, self._side, where)
        yield from self._fields(old, new, where, depth)
        if isinstance(old.get("items"), dict) and isinstance(new.get("items"), dict):
            yield from self.compare(old["items"], new["items"], f"{where}[]", depth + 1)

    def _fields(
        self, old: dict[str, Any], new: dict[str, Any], where: str, depth: int
    ) -> Iterator[Change]:
        before, after = _properties(old), _properties(new)
        needed, needs = _required(old), _required(new)
        sent = self._side == "input"
        for name, part in before.items():
            place = f"{where}.{name}"
            if name not in after:
                yield Change(f"{place} is gone", breaking=True)
                continue
            yield from self.compare(part, after[name], place, depth + 1)
            if sent and name in needs and name not in needed:
                yield Change(f"{place} has to be given, and could be left out", breaking=True)
            if not sent and name in needed and name not in needs:
                yield Change(f"{place} may be missing, and was always there", breaking=True)
        for name in after:
            if name not in before:
                breaks = sent and name in needs
                told = " and has to be given" if breaks else ""
                yield Change(f"{where}.{name} is new{told}", breaking=breaks)


def _types(old: dict[str, Any], new: dict[str, Any], side: Side, where: str) -> Iterator[Change]:
    """A caller may send fewer types: breaks an input. May get more: breaks an output."""
    before, after = _type_set(old), _type_set(new)
    if before == after:
        return
    if side == "input":
        breaks = bool(after) and (not before or bool(before - after))
    else:
        breaks = bool(before) and (not after or bool(after - before))
    yield Change(f"{where} is {_either(after)}, was {_either(before)}", breaking=breaks)


def _choices(old: dict[str, Any], new: dict[str, Any], side: Side, where: str) -> Iterator[Change]:
    before, after = old.get("enum"), new.get("enum")
    if not isinstance(before, list) or before == after:
        if isinstance(after, list) and before is None:
            yield Change(f"{where} is one of {_list(after)}, and was any", breaking=side == "input")
        return
    kept = after if isinstance(after, list) else before
    lost = [one for one in before if one not in kept]
    gained = [one for one in kept if one not in before]
    if lost:
        yield Change(f"{where} has no {_list(lost)} any more", breaking=side == "input")
    if gained:
        yield Change(f"{where} has {_list(gained)} too", breaking=False)


def _bounds(old: dict[str, Any], new: dict[str, Any], side: Side, where: str) -> Iterator[Change]:
    for name in (*_LOWER, *_UPPER):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        narrower = after is not None
        if isinstance(before, int | float) and isinstance(after, int | float):
            narrower = after > before if name in _LOWER else after < before
        what = f"{where}: {name} is {_shown(after)}, was {_shown(before)}"
        yield Change(what, breaking=narrower and side == "input")
    for name in _EXACT:
        before, after = old.get(name), new.get(name)
        if before != after:
            what = f"{where}: {name} is {_shown(after)}, was {_shown(before)}"
            there = after if side == "input" else before
            yield Change(what, breaking=there is not None)


def _type_set(schema: dict[str, Any]) -> frozenset[str]:
    """The types that a value may have, those of alternatives included; empty: any."""
    found: set[str] = set()
    kind = schema.get("type")
    if isinstance(kind, str):
        found.add(kind)
    elif isinstance(kind, list):
        found.update(one for one in kind if isinstance(one, str))
    for name in ("anyOf", "oneOf"):
        for one in schema.get(name) or ():
            if isinstance(one, dict):
                inner = one.get("type")
                # An alternative that is no plain type counts by all that it says.
                found.add(
                    inner
                    if isinstance(inner, str) and set(one) <= {"type", "title"}
                    else _text(one)
                )
    return frozenset(found)


def _resolved(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    """Without a reference at its top; those in circles are left as they are."""
    for _ in range(DEPTH):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        found: Any = root
        for part in reference[2:].split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            break
        schema = {**found, **{name: value for name, value in schema.items() if name != "$ref"}}
    return schema


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _required(schema: dict[str, Any]) -> set[str]:
    found = schema.get("required")
    return {one for one in found if isinstance(one, str)} if isinstance(found, list) else set()


def _major(schema: Mapping[str, Any]) -> int:
    """The first number of a version; of 0.x the second one counts, as in semantic versioning."""
    parts = str(schema.get("version") or "0").split(".")
    numbers = [int(part) if part.isdigit() else 0 for part in (*parts, "0")][:2]
    return numbers[0] * 1_000_000 + (numbers[1] if numbers[0] == 0 else 0)


def _either(types: frozenset[str]) -> str:
    return " or ".join(sorted(types)) or "anything"


def _list(values: list[Any]) -> str:
    return ", ".join(_shown(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")


def _shown(value: Any) -> str:
    return "nothing" if value is None else _text(value)[:80]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, sort_keys=True, default=str)
