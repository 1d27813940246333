"""JSON as Go's `encoding/json` reads and writes it, as far as it shows on the wire.

An orchestrator answers a bad registration or `Livepeer` header with that library's own words;
it matches keys in any letter case, insists on integers (`2.0` is none) and passes numbers of
free-form objects through a float.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

Item = TypeVar("Item")
FieldReader = Callable[[Any, str], Any]
"""Reads a field that is no scalar: its value, and where it is (`Struct.field`) for the error."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_EXPECTED = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name": "looking for beginning of object key string",
    "Expecting ':'": "after object key",
    "Expecting ','": "after object key:value pair",
    "Extra data": "after top-level value",
}
"""Python's complaint (its beginning) to Go's."""
_ENDS_EARLY = "unexpected end of JSON input"
_BLANKS = " \t\r\n"


class GoJSONError(ValueError):
    """The text of Go's error for the same input."""


class Number(str):
    """A number as it was written: Go tells `2` from `2.0`."""


def parse(data: bytes | str) -> Any:
    """A JSON value whose numbers are `Number`; raises `GoJSONError`."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise GoJSONError(_syntax_error(error, text)) from None
    except RecursionError:
        raise GoJSONError("exceeded max depth") from None


def parse_first(data: bytes) -> Any:
    """The first value of a body, as Go's `json.Decoder` reads it: what follows does not matter.

    Raises `GoJSONError`; its text is `EOF` for a body without a value.
    """
    text = data.decode("utf-8", "replace").lstrip(_BLANKS)
    if not text:
        raise GoJSONError("EOF")
    try:
        return _DECODER.raw_decode(text)[0]
    except json.JSONDecodeError as error:
        said = _syntax_error(error, text)
        raise GoJSONError("unexpected EOF" if said == _ENDS_EARLY else said) from None
    except RecursionError:
        raise GoJSONError("exceeded max depth") from None


def decode(
    value: Any, fields: Mapping[str, str | FieldReader], struct: str, package: str = "byoc"
) -> dict[str, Any]:
    """The known `fields` (name to Go type) of an object; JSON null is an object without any.

    Types are `string`, `bool`, `int`, `int64`, or a function that reads the field. A null leaves
    a field out. Raises `GoJSONError`.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        kind = kind_of(value)
        raise GoJSONError(f"json: cannot unmarshal {kind} into Go value of type {package}.{struct}")
    by_case = {name.lower(): name for name in fields}
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = key if key in fields else by_case.get(key.lower())
        if name is not None and item is not None:
            read, where = fields[name], f"{struct}.{name}"
            found[name] = scalar(item, read, where) if isinstance(read, str) else read(item, where)
    return found


def decode_object(value: Any) -> dict[str, Any]:
    """A free-form object with its numbers as floats; JSON null is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        kind = kind_of(value)
        raise GoJSONError(f"json: cannot unmarshal {kind} into Go value of type map[string]any")
    plain = _floats(value)
    assert isinstance(plain, dict)
    return plain


def dumps(value: Any) -> bytes:
    """Compact JSON with sorted keys where it came from a map; `<`, `>`, `&` are escaped."""
    text = _dump(value)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text.encode("utf-8", "replace")


def _dump(value: Any) -> str:
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, dict):
        items = (f"{json.dumps(k, ensure_ascii=False)}:{_dump(v)}" for k, v in value.items())
        return "{" + ",".join(items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _float(value: float) -> str:
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(repr(value)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    sign, digits = exponent[0], exponent[1:].lstrip("0") or "0"
    return f"{mantissa}e{sign}{digits.zfill(1 if sign == '-' else 2)}"


def _floats(value: Any) -> Any:
    if isinstance(value, Number):
        number = float(value)
        if number in (float("inf"), float("-inf")):
            raise GoJSONError(
                f"json: cannot unmarshal number {value} into Go value of type float64"
            )
        return number
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [_floats(item) for item in value]
    return value


def scalar(value: Any, go_type: str, where: str) -> Any:
    """A string, bool or integer; raises `GoJSONError` for another kind."""
    kind = kind_of(value)
    if go_type == "string" and kind == "string":
        return value
    if go_type == "bool" and kind == "bool":
        return value
    if go_type in ("int", "int64") and kind == "number":
        if _INTEGER.fullmatch(value) and -(2**63) <= int(value) < 2**63:
            return int(value)
        kind = f"number {value}"
    raise GoJSONError(
        f"json: cannot unmarshal {kind} into Go struct field {where} of type {go_type}"
    )


def text(value: Any, where: str) -> str:
    """A `FieldReader` of a string in which half of a surrogate pair is U+FFFD, as Go has it."""
    found: str = scalar(value, "string", where)
    return found if found.isascii() else _SURROGATE.sub("\ufffd", found)


def items(value: Any, where: str, go_type: str, read: Callable[[Any], Item]) -> list[Item]:
    """The items of an array, each as `read` gives it; raises `GoJSONError`."""
    if not isinstance(value, list):
        raise mismatch(value, where, go_type)
    return [read(item) for item in value]


def texts(value: Any, where: str) -> list[str]:
    """A `FieldReader` of an array of strings; null is an empty one."""
    read = functools.partial(text, where=where)
    return items(value, where, "[]string", lambda item: "" if item is None else read(item))


def mismatch(value: Any, where: str, go_type: str) -> GoJSONError:
    """The error for a value that is not of the type of its field."""
    return GoJSONError(
        f"json: cannot unmarshal {kind_of(value)} into Go struct field {where} of type {go_type}"
    )


def kind_of(value: Any) -> str:
    """Go's word for the kind of a JSON value."""
    if isinstance(value, Number):
        return "number"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _refuse_constant(name: str) -> None:
    raise GoJSONError(f"invalid character '{name[0]}' looking for beginning of value")


def _syntax_error(error: json.JSONDecodeError, text: str) -> str:
    if error.pos >= len(text) or error.msg.startswith("Unterminated string"):
        return _ENDS_EARLY
    letter = json.dumps(text[error.pos], ensure_ascii=False)[1:-1]
    letter = letter.replace("'", "\\'").replace('\\"', '"').replace("\\u00", "\\x")
    after = next(
        (go for python, go in _EXPECTED.items() if error.msg.startswith(python)),
        "in string literal",
    )
    return f"invalid character '{letter}' {after}"


_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_refuse_constant)
