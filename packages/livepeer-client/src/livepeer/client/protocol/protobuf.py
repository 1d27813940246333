"""A small codec for protobuf messages, by tables of their fields. No I/O.

go-livepeer puts `net.OrchestratorInfo`, `net.Payment` and their parts into JSON and headers as
base64. Encoded as Go's `proto.Marshal` does it: fields in the order of their numbers, zero values
left out. Unknown fields are skipped.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

MESSAGE_BYTES: Final = 1 << 16
"""Bytes of one message: a payment of 100 tickets has 8,000."""
_NUMBERS: Final = (1 << 29) - 1
"""The last number that a field can have."""
_VARINT: Final = 10
"""Bytes of the longest number."""

Kind = Literal["int", "bytes", "text"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message; `repeated`: its value is a list."""

    name: str
    kind: Kind | Message
    repeated: bool = False


class Message:
    """A kind of message: its fields by their numbers. Values are dicts by the fields' names."""

    def __init__(self, fields: Mapping[int, Field]) -> None:
        self._fields = dict(sorted(fields.items()))

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """Its bytes. Names that it has no field for are a mistake of ours (`KeyError`)."""
        left = set(values) - {field.name for field in self._fields.values()}
        if left:
            raise KeyError(f"no such field: {sorted(left)}")
        found = bytearray()
        for number, field in self._fields.items():
            value = values.get(field.name)
            if field.repeated:
                for each in value or ():
                    found += _field(number, field.kind, each)
            elif value or isinstance(value, Mapping):
                found += _field(number, field.kind, value)
        return bytes(found)

    def decode(self, data: bytes) -> dict[str, Any]:
        """Its values; what is not there is absent. Raises `ValueError` for what is no message."""
        if len(data) > MESSAGE_BYTES:
            raise ValueError(f"a message of {len(data):,} bytes")
        found: dict[str, Any] = {}
        at = 0
        while at < len(data):
            key, at = _varint(data, at)
            number, wire = key >> 3, key & 7
            if not 0 < number <= _NUMBERS:
                raise ValueError(f"no such field: {number}")
            value, at = _value(data, at, wire)
            field = self._fields.get(number)
            if field is None:
                continue
            read = _read(field.kind, value)
            if isinstance(field.kind, Message) and not field.repeated and field.name in found:
                # Others would put the two together: it says something else to each of them.
                raise ValueError("a part that comes twice")
            if field.repeated:
                found.setdefault(field.name, []).append(read)
            else:
                found[field.name] = read
        return found

    def encode_text(self, values: Mapping[str, Any]) -> str:
        """`encode` in standard base64."""
        return base64.b64encode(self.encode(values)).decode("ascii")

    def decode_text(self, text: str) -> dict[str, Any]:
        """`decode` of standard base64."""
        if len(text) > 2 * MESSAGE_BYTES:
            raise ValueError(f"a message of {len(text):,} letters")
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("no base64") from None
        return self.decode(data)


def _field(number: int, kind: Kind | Message, value: Any) -> bytes:
    if kind == "int":
        return _number(number << 3) + _number(value & (1 << 64) - 1)
    content: bytes
    if kind == "text":
        content = value.encode()
    else:
        content = kind.encode(value) if isinstance(kind, Message) else bytes(value)
    return _number(number << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _varint(data: Sequence[int], at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[at : at + _VARINT]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if value >> 64:
                break
            return value, at + index + 1
    raise ValueError("a number without its end")


def _value(data: bytes, at: int, wire: int) -> tuple[int | bytes, int]:
    if wire == 0:
        return _varint(data, at)
    if wire == 2:
        size, at = _varint(data, at)
    elif wire in (1, 5):
        size = 8 if wire == 1 else 4
    else:
        raise ValueError(f"no such wire type: {wire}")
    if size > len(data) - at:
        raise ValueError("a field that ends behind its message")
    return data[at : at + size], at + size


def _read(kind: Kind | Message, value: int | bytes) -> Any:
    if (kind == "int") != isinstance(value, int):
        raise ValueError("a field of another kind")
    if isinstance(value, int):
        return value - (1 << 64) if value >> 63 else value  # int64
    if kind == "text":
        return value.decode()  # `UnicodeDecodeError` is a `ValueError`
    return kind.decode(value) if isinstance(kind, Message) else value
