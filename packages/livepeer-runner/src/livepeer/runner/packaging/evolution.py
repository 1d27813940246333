"""What a new version of a pipeline changes for those who call it already (specs/evolution.md).

What a caller sends has to be taken as before, what a caller reads has to be there as before. A
change that breaks one of both needs a new major version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from livepeer.runner.packaging.schema_parts import (
    DEPTH,
    FREE,
    UNIONS,
    alternatives,
    besides,
    choice,
    is_union,
    properties,
    required,
    resolved,
    types_of,
)
from livepeer.trickle.text import printable

Side = Literal["input", "output"]

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EXACT = ("pattern", "format", "multipleOf", "contentMediaType", "uniqueItems")
_COMPARED = {
    *("type", "enum", "const", "properties", "required", "items", "additionalProperties"),
    *(*_LOWER, *_UPPER, *_EXACT, *UNIONS),
}


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
        self._done: dict[tuple[int, int], bool] = {}

    def compare(self, old: Any, new: Any, where: str, depth: int = 0) -> list[Change]:
        key = (id(old), id(new))
        if key in self._done:
            broken = self._done[key]
            return [Change(f"{where} is another one", breaking=True)] if broken else []
        self._done[key] = False  # a schema in a circle is what its first look finds
        found = list(self._differences(old, new, where, depth))
        self._done[key] = any(change.breaking for change in found)
        return found

    def _differences(self, old: Any, new: Any, where: str, depth: int) -> Iterator[Change]:
        if depth > DEPTH or not isinstance(old, dict) or not isinstance(new, dict):
            if old != new:
                gone = new is None
                yield Change(f"{where} is {'gone' if gone else 'another one'}", breaking=True)
            return
        before, after = resolved(old, self._old), resolved(new, self._new)
        yield from _types(self._types(before, True), self._types(after, False), self._side, where)
        yield from _unknown(before, after, where)
        if is_union(before) or is_union(after):
            yield from self._unions((old, before), (new, after), where, depth)
            return
        yield from _choices(before, after, self._side, where)
        yield from _bounds(before, after, self._side, where)
        yield from self._fields(before, after, where, depth)
        yield from self._inner(before, after, "items", f"{where}[]", depth)
        yield from self._inner(before, after, "additionalProperties", f"{where}.*", depth)

    def _types(self, schema: dict[str, Any], is_old: bool) -> frozenset[str]:
        """The types that a value may have, those of alternatives included; empty: any."""
        if not is_union(schema):
            return types_of(schema)
        root = self._old if is_old else self._new
        kinds = [types_of(resolved(one, root)) for one in alternatives(schema)]
        return frozenset[str]() if not all(kinds) else frozenset[str]().union(*kinds)

    def _unions(
        self,
        old: tuple[Any, dict[str, Any]],
        new: tuple[Any, dict[str, Any]],
        where: str,
        depth: int,
    ) -> Iterator[Change]:
        """What a caller sends needs an alternative that takes it; what it reads, one it knows."""
        bounds = [besides(one) if is_union(one) else {} for _, one in (old, new)]
        if bounds[0] != bounds[1]:
            yield Change(f"{where} is bounded in another way", breaking=True)
        before = alternatives(old[1]) if is_union(old[1]) else [old[0]]
        after = alternatives(new[1]) if is_union(new[1]) else [new[0]]
        sent = self._side == "input"
        for one in before if sent else after:
            best: list[Change] | None = None
            for other in after if sent else before:
                pair = (one, other) if sent else (other, one)
                found = [each for each in self.compare(*pair, where, depth + 1) if each.breaking]
                if best is None or len(found) < len(best):
                    best = found
                if not best:
                    break
            yield from best or ()

    def _inner(
        self, old: dict[str, Any], new: dict[str, Any], name: str, where: str, depth: int
    ) -> Iterator[Change]:
        before, after = old.get(name, True), new.get(name, True)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from self.compare(before, after, where, depth + 1)
        elif before != after:
            wider = (
                (before is False or after is True)
                if self._side == "input"
                else (before is True or after is False)
            )
            what = f"{where} is {_shown(after)}, was {_shown(before)}"
            yield Change(what, breaking=not wider)

    def _fields(
        self, old: dict[str, Any], new: dict[str, Any], where: str, depth: int
    ) -> Iterator[Change]:
        before, after = properties(old), properties(new)
        needed, needs = required(old), required(new)
        sent = self._side == "input"
        for name, part in before.items():
            place = f"{where}.{name}"
            if name not in after:
                yield Change(f"{place} is gone", breaking=True)
                continue
            yield from self.compare(part, after[name], place, depth + 1)
            if not sent and name in needed and name not in needs:
                yield Change(f"{place} may be missing, and was always there", breaking=True)
        if sent:
            for name in sorted(needs - needed):
                if name in before or name not in after:
                    what = f"{where}.{name} has to be given, and could be left out"
                    yield Change(what, breaking=True)
        for name in after:
            if name not in before:
                breaks = sent and name in needs
                told = " and has to be given" if breaks else ""
                yield Change(f"{where}.{name} is new{told}", breaking=breaks)


def _types(
    before: frozenset[str], after: frozenset[str], side: Side, where: str
) -> Iterator[Change]:
    """A caller may send fewer types: breaks an input. May get more: breaks an output."""
    if before == after:
        return
    if side == "input":
        breaks = bool(after) and (not before or bool(before - _with_integers(after)))
    else:
        breaks = bool(before) and (not after or bool(after - _with_integers(before)))
    yield Change(f"{where} is {_either(after)}, was {_either(before)}", breaking=breaks)


def _with_integers(types: frozenset[str]) -> frozenset[str]:
    return types | {"integer"} if "number" in types else types


def _unknown(old: dict[str, Any], new: dict[str, Any], where: str) -> Iterator[Change]:
    """What is not understood here and differs is taken for a change that breaks."""
    for name in sorted((old.keys() | new.keys()) - _COMPARED - FREE):
        if old.get(name) != new.get(name):
            yield Change(f"{where}: {name} is another one", breaking=True)


def _choices(old: dict[str, Any], new: dict[str, Any], side: Side, where: str) -> Iterator[Change]:
    before, after = choice(old), choice(new)
    if before is None or before == after:
        if after is not None and before is None:
            yield Change(f"{where} is one of {_list(after)}, and was any", breaking=side == "input")
        return
    if after is None:
        yield Change(f"{where} is any, and was one of {_list(before)}", breaking=False)
        return
    old_texts, new_texts = {_text(one) for one in before}, {_text(one) for one in after}
    lost = [one for one in before if _text(one) not in new_texts]
    gained = [one for one in after if _text(one) not in old_texts]
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
