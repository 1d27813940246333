"""Scenarios with one expectation changed: what a replay that looks would notice."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from .transcript import Scenario
from .values import UNLISTED


def with_one_change(scenario: Scenario, changes: random.Random) -> Scenario | None:
    """The scenario with one expectation that is not what was recorded."""
    steps = list(scenario.steps)
    candidates = [i for i, step in enumerate(steps) if changed_step(step, changes) is not None]
    if not candidates:
        return None
    at = changes.choice(candidates)
    replaced = changed_step(steps[at], changes)
    assert replaced is not None
    steps[at] = replaced
    return dataclasses.replace(scenario, steps=steps)


def changed_step(step: dict[str, Any], changes: random.Random) -> dict[str, Any] | None:
    if "capacity" in step:
        return {**step, "capacity": step["capacity"] + 1}
    if "channels" in step:
        name = changes.choice(list(step["channels"]))
        other = {"open": "absent", "absent": "open"}[step["channels"][name]]
        return {"channels": {**step["channels"], name: other}}
    receives = step.get("receives")
    if not receives or "provisional" in receives:
        return None
    ways = [
        key for key in ("status", "method", "path", "headers", "body", "json") if key in receives
    ]
    if not receives.get("body"):
        ways = [way for way in ways if way != "body"]
    if not ways:
        return None
    return {**step, "receives": changed_part(receives, changes.choice(ways), changes)}


def changed_part(receives: dict[str, Any], way: str, changes: random.Random) -> dict[str, Any]:
    value = receives[way]
    if way == "status":
        return {**receives, way: value + 1}
    if way == "method":
        return {**receives, way: "PATCH"}
    if way == "path":
        return {**receives, way: value + "x"}
    if way == "json":
        return {**receives, way: [value]}
    if way == "headers":
        known = [key for key in value if key.lower() not in UNLISTED]
        name = changes.choice([*known, "X-Not-There"])
        less = {key: text for key, text in value.items() if key != name}
        more = {**value, name: "changed"}
        return {**receives, way: changes.choice([less, more]) if name in value else more}
    # The same length, so that nobody has to wait for a byte that never comes.
    if isinstance(value, str):
        return {**receives, way: chr((ord(value[0]) + 1) % 128) + value[1:]}
    if isinstance(value, list):
        return {**receives, way: [*value[:-1], "?" * len(value[-1])]}
    if "fill" in value:
        return {**receives, way: {**value, "fill": "?"}}
    return {**receives, way: {"fill": "?", "count": 3}}
