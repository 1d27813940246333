"""The protobuf messages of payments (go-livepeer, package `net`), read and written. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Fields = dict[str, Any]
Shape = dict[int, tuple[str, Any]]
"""By number: a name, and `int`, `bytes`, `str`, another shape, or a list of one shape."""

EXPIRATION_PARAMS: Shape = {1: ("creation_round", int), 2: ("creation_round_block_hash", bytes)}
TICKET_PARAMS: Shape = {
    1: ("recipient", bytes),
    2: ("face_value", bytes),
    3: ("win_prob", bytes),
    4: ("recipient_rand_hash", bytes),
    5: ("seed", bytes),
    6: ("expiration_block", bytes),
    7: ("expiration_params", EXPIRATION_PARAMS),
}
PRICE_INFO: Shape = {1: ("pricePerUnit", int), 2: ("pixelsPerUnit", int)}
AUTH_TOKEN: Shape = {1: ("token", bytes), 2: ("session_id", str), 3: ("expiration", int)}
ORCHESTRATOR_INFO: Shape = {
    1: ("transcoder", str),
    2: ("ticket_params", TICKET_PARAMS),
    3: ("price_info", PRICE_INFO),
    4: ("address", bytes),
    6: ("auth_token", AUTH_TOKEN),
}
PAYMENT: Shape = {
    1: ("ticket_params", TICKET_PARAMS),
    2: ("sender", bytes),
    3: ("expiration_params", EXPIRATION_PARAMS),
    4: ("ticket_sender_params", [{1: ("sender_nonce", int), 2: ("sig", bytes)}]),
    5: ("expected_price", PRICE_INFO),
}
SEGMENT: Shape = {
    1: ("manifestId", bytes),
    2: ("seq", int),
    3: ("hash", bytes),
    4: ("profiles", bytes),
    5: ("sig", bytes),
    8: ("auth_token", AUTH_TOKEN),
}
PAYMENT_RESULT: Shape = {16: ("info", ORCHESTRATOR_INFO)}

BAD = "proto:\u00a0cannot parse invalid wire-format data"
"""Go's words."""


def write(shape: Shape, fields: Fields) -> bytes:
    """As Go's `proto.Marshal` does: in the order of numbers, zero values left out."""
    found = b""
    for number in sorted(shape):
        name, kind = shape[number]
        value = fields.get(name)
        for each in value or () if isinstance(kind, list) else [value]:
            found += _written(number, kind[0] if isinstance(kind, list) else kind, each)
    return found


def _written(number: int, kind: Any, value: Any) -> bytes:
    if value is None or (not value and not isinstance(kind, dict)):
        return b""
    if kind is int:
        return _varint(number << 3) + _varint(value % (1 << 64))
    if isinstance(kind, dict):
        value = write(kind, value)
    data: bytes = value.encode() if kind is str else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    return bytes((value & 0x7F | 0x80,)) + _varint(value >> 7)


def read(shape: Shape, data: bytes) -> Fields:
    """Raises `ValueError` for what is no message; what it does not know is passed over."""
    found: Fields = {}
    for number, value in _parts(data):
        name, kind = shape.get(number, ("", None))
        if kind is None:
            continue
        if (kind is int) is not isinstance(value, int):
            raise ValueError(BAD)
        if kind is int:
            found[name] = value - (1 << 64) if value >> 63 else value
        elif kind is str:
            found[name] = value.decode()
        elif isinstance(kind, list):
            found.setdefault(name, []).append(read(kind[0], value))
        else:
            found[name] = read(kind, value) if isinstance(kind, dict) else value
    return found


def _parts(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        key, at = _number(data, at)
        if key & 7 == 0:
            value, at = _number(data, at)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(key & 7)
        if key & 7 == 2:
            size, at = _number(data, at)
        if size is None or size > len(data) - at or key < 8:
            raise ValueError(BAD)
        yield key >> 3, data[at : at + size]
        at += size


def _number(data: bytes, at: int) -> tuple[int, int]:
    for end in range(at, min(len(data), at + 10)):
        if data[end] < 0x80:
            value = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(data[at : end + 1]))
            return value % (1 << 64), end + 1
    raise ValueError(BAD)
