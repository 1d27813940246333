"""What a function says of itself: its parameters, its evaluated type hints, its docstring.

Docstrings are understood in their three usual forms, Google (`Args:`), NumPy (`Parameters`
underlined) and Sphinx (`:param name: ...`), as far as names and their descriptions go.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union

from pydantic import EncodedBytes

from livepeer.runner.exceptions import SignatureError

_SPHINX = re.compile(r":param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)")
_GOOGLE = re.compile(r"(\w+)\s*(?:\([^)]*\))?\s*:\s+(.*)")
_NUMPY = re.compile(r"(\w+)\s*(?::.*)?$")
_SECTION = re.compile(r"(args|arguments|parameters|params)\s*:\s*$", re.IGNORECASE)
_OTHER_SECTION = re.compile(r"(returns?|yields?|raises|examples?|notes?|warnings?)\s*:?\s*$", re.I)


def unwrapped(function: Any) -> Callable[..., Any]:
    """The function below decorators that used `functools.wraps`, class- and staticmethods."""
    inner: Callable[..., Any] = inspect.unwrap(getattr(function, "__func__", function))
    return inner


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    if sys.version_info >= (3, 14):
        import annotationlib

        signature = inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    else:
        signature = inspect.signature(function)
    return list(signature.parameters.values())


def resolve(
    function: Callable[..., Any], where: str, namespace: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The evaluated hints by name (`return` too), `Annotated` metadata kept.

    `namespace`: names known besides the globals of the function's module, as those of its class.
    """
    local_names = dict(namespace or {})
    try:
        return typing.get_type_hints(function, localns=local_names, include_extras=True)
    except NameError as error:
        missing = error.name or str(error)
        raise SignatureError(
            f"{where}: {_owner(function, missing)} names the type `{missing}`, which cannot be "
            f"found. Import it at the top of the module (not under `if TYPE_CHECKING:`, since the "
            f"schema is made from it), and define it outside of any function"
        ) from error
    except (SyntaxError, TypeError, AttributeError, ValueError) as error:
        raise SignatureError(f"{where}: a type hint cannot be evaluated: {error}") from error


def _owner(function: Callable[..., Any], name: str) -> str:
    for parameter in parameters_of(function):
        annotation = parameter.annotation
        text = annotation if isinstance(annotation, str) else repr(annotation)
        if annotation is not parameter.empty and name in text:
            return f"parameter `{parameter.name}`"
    return "the return type"


def strip_annotated(hint: Any) -> Any:
    """`T` of `Annotated[T, ...]`, and of `type` aliases (PEP 695)."""
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            hint = typing.get_args(hint)[0]
        elif type(hint).__name__ == "TypeAliasType" and hasattr(hint, "__value__"):
            hint = hint.__value__
        else:
            return hint


def each_hint(hint: Any) -> Iterator[Any]:
    """The hint itself and every one that it is made of."""
    yield hint
    bare = strip_annotated(hint)
    if typing.get_origin(bare) is not Literal:
        for argument in typing.get_args(bare):
            yield from each_hint(argument)


def replaced(hint: Any, old: type, new: type) -> Any:
    """The hint with one type in the place of another, however deep it stands."""
    return changed(hint, lambda one: one, {old: new})


def changed(
    hint: Any, change: Callable[[Any], Any], types: Mapping[type, type] | None = None
) -> Any:
    """The hint with each annotation changed, or without it where that gives None, and with some
    types replaced."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        inner, *metadata = arguments
        kept = [new for new in map(change, metadata) if new is not None]
        inner = changed(inner, change, types)
        return Annotated[(inner, *kept)] if kept else inner
    if types and type(hint).__name__ == "TypeAliasType":
        made = changed(strip_annotated(hint), change, types)
        return hint if made == strip_annotated(hint) else made
    if types and isinstance(hint, type) and hint in types:
        return types[hint]
    if origin is None or origin is Literal:
        return hint
    made = tuple(changed(one, change, types) for one in arguments)
    if made == arguments:
        return hint
    return Union[made] if origin in (Union, UnionType) else origin[made]  # noqa: UP007


def is_bare_bytes(hint: Any) -> bool:
    """Bytes as they are; pydantic's `Base64Bytes` and the like say how they become text."""
    if strip_annotated(hint) not in (bytes, bytearray, memoryview):
        return False
    metadata = getattr(hint, "__metadata__", ())
    return not any(isinstance(each, EncodedBytes) for each in metadata)


def shown(hint: Any) -> str:
    """How a type is written in an error message."""
    return hint.__name__ if isinstance(hint, type) else str(hint).removeprefix("typing.")


def summary_of(doc: str | None) -> str:
    """The first paragraph on one line; empty without a docstring."""
    first = inspect.cleandoc(doc or "").split("\n\n")[0]
    lines = []
    for line in first.splitlines():
        if _SECTION.match(line) or _SPHINX.match(line):
            break
        lines.append(line.strip())
    return " ".join(lines).strip()


def described_parameters(doc: str | None) -> dict[str, str]:
    """The description of each parameter that the docstring describes."""
    lines = inspect.cleandoc(doc or "").splitlines()
    found = _sphinx(lines)
    for number, line in enumerate(lines):
        underlined = number + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[number + 1].strip())
        if line.strip().lower() in ("parameters", "other parameters") and underlined:
            found.update(_described(lines[number + 2 :], _NUMPY, indented=False))
        elif _SECTION.match(line):
            found.update(_described(lines[number + 1 :], _GOOGLE, indented=True))
    return {name: text for name, text in found.items() if text}


def _sphinx(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    name = None
    for line in lines:
        if match := _SPHINX.match(line.strip()):
            name, text = match.groups()
            found[name] = text
        elif name and line.startswith(" ") and line.strip():
            found[name] = f"{found[name]} {line.strip()}".strip()
        else:
            name = None
    return found


def _described(lines: list[str], entry: re.Pattern[str], *, indented: bool) -> dict[str, str]:
    """Entries at one indentation, each followed by deeper lines of its description."""
    found: dict[str, str] = {}
    name = None
    level: int | None = None
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        ended = (indented and indent == 0) or re.fullmatch(r"-{3,}", following)
        if ended or (indent == 0 and _OTHER_SECTION.match(line)):
            break
        level = indent if level is None else level
        if indent > level:
            if name is not None:
                found[name] = f"{found[name]} {line.strip()}".strip()
        elif match := entry.match(line.strip()):
            name = match[1]
            found[name] = match[2] if entry.groups > 1 else ""
        else:
            name = None
    return found
