"""The public interface, name by name: a change of it is seen in review, never by a user first.

`uv run --no-sync python tests/surface/test_surface.py` writes `specs/v1/*.txt` anew.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

SPECS = Path(__file__).parents[2] / "specs" / "v1"
PACKAGES = (
    "livepeer.trickle",
    "livepeer.trickle.media",
    "livepeer.runner",
    "livepeer.runner.errors",
    "livepeer.runner.testing",
    "livepeer.runner.registration",
    "livepeer.runner.devnet",
    "livepeer.client",
)


def surface(package: str) -> str:
    """One line for each public name, its signature, and its public members."""
    module = importlib.import_module(package)
    lines: list[str] = []
    for name in sorted(module.__all__):
        lines += described(name, getattr(module, name))
    return "\n".join(lines) + "\n"


def described(name: str, value: object) -> Iterator[str]:
    if isinstance(value, type):
        yield from described_class(name, value)
    elif callable(value) and not isinstance(value, typing._SpecialForm):  # type: ignore[attr-defined]
        yield f"{prefix(value)} {name}{signature(value)}"
    elif isinstance(value, types.ModuleType):
        yield f"module {name}"
    else:
        yield f"name {name}"


def described_class(name: str, cls: type) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    heading = f"class {name}" + (f"({bases})" if bases else "")
    constructor = "" if issubclass(cls, enum.Enum | BaseException) else signature(cls)
    yield heading if not constructor else f"{heading}: {constructor}"
    for member, value in sorted(members(cls).items()):
        yield f"    {member_line(member, value)}"


def members(cls: type) -> dict[str, object]:
    """What the class and our own bases define; what others define is theirs to keep."""
    found: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("livepeer."):
            found |= {**dict.fromkeys(inspect.get_annotations(base)), **vars(base)}
    return {
        member: value
        for member, value in found.items()
        if not member.startswith("_") and not member.startswith("model_")
    }


def member_line(name: str, value: object) -> str:
    if isinstance(value, property):
        return f"{name} (property)"
    function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    if inspect.isfunction(function):
        kind = type(value).__name__ if value is not function else prefix(function)
        return f"{kind} {name}{signature(function, bound=True)}"
    return name


def prefix(function: object) -> str:
    asynchronous = inspect.iscoroutinefunction(function)
    return "async def" if asynchronous else "def"


def signature(value: object, *, bound: bool = False) -> str:
    """Parameter names, kinds and whether they have a default: what a caller's code depends on."""
    try:
        parameters = inspect.signature(typing.cast("typing.Any", value)).parameters.values()
    except (TypeError, ValueError):
        return ""
    parts: list[str] = []
    star = False
    for one in parameters:
        if bound and one.name in ("self", "cls"):
            continue
        if one.kind is one.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        star |= one.kind is one.VAR_POSITIONAL
        mark = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        default = "" if one.default is one.empty else "=..."
        parts.append(f"{mark}{one.name}{default}")
    return f"({', '.join(parts)})"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_public_interface_is_the_recorded_one(package: str) -> None:
    recorded = (SPECS / f"{package}.txt").read_text()
    assert surface(package) == recorded, (
        f"the public interface of {package} has changed; if that is meant, write it anew: "
        "uv run --no-sync python tests/surface/test_surface.py"
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_says_what_it_is(package: str) -> None:
    module = importlib.import_module(package)
    silent = [
        name
        for name in module.__all__
        if isinstance(getattr(module, name), type | types.FunctionType)
        and not re.search(r"\w", getattr(module, name).__doc__ or "")
    ]
    assert silent == []


if __name__ == "__main__":
    SPECS.mkdir(parents=True, exist_ok=True)
    for each in PACKAGES:
        (SPECS / f"{each}.txt").write_text(surface(each))
