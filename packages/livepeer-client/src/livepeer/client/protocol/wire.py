"""What goes over the wire between a caller, an orchestrator and a gateway. No I/O.

Names and shapes are go-livepeer's (package `byoc`), as its recorded answers show them.
"""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

from livepeer.client.types import FieldError
from livepeer.client.untrusted import TEXT, loads
from livepeer.trickle.text import printable

INT64: Final = (1 << 63) - 1
"""go-livepeer's numbers are no larger."""
_DECIMAL: Final = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,19})?")

_LONE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

FIELDS: Final = 20
"""Fields named in one error, and letters in each of them."""
FIELD_LENGTH: Final = 300
WAIT_LIMIT: Final = 86_400.0
"""Seconds of a wait that a peer may ask for: a day."""

JOB: Final = "Livepeer"
PAYMENT: Final = "Livepeer-Payment"
SEGMENT: Final = "Livepeer-Segment"
PAYER: Final = "Livepeer-Payer-Address"
CAPABILITY: Final = "Livepeer-Capability"
ETH_ADDRESS: Final = "Livepeer-Eth-Address"

JSON: Final = "application/json"

TOKEN_PATH: Final = "/process/token"
JOB_PATH: Final = "/process/request/"


@dataclass(slots=True)  # made for each call: freezing would double its cost
class JobHeader:
    """One job as the `Livepeer` header describes it. `request` and `parameters` are JSON texts."""

    id: str
    capability: str
    timeout_seconds: int
    request: str = "{}"
    parameters: str = "{}"

    def header(self, *, sender: str | None = None, signature: str = "") -> str:
        """The header's value; without a `sender` as a gateway takes it, which signs by itself."""
        fields: dict[str, Any] = {
            "id": self.id,
            "request": self.request,
            "parameters": self.parameters,
            "capability": self.capability,
            "timeout_seconds": self.timeout_seconds,
        }
        if sender is not None:
            fields |= {"sender": sender, "sig": signature}
        return base64_json(fields)


def base64_json(value: Any) -> str:
    """Standard base64 of compact JSON: how go-livepeer carries objects in headers."""
    return base64.b64encode(compact_json(value).encode()).decode("ascii")


_compact: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def compact_json(value: Any) -> str:
    return _compact.encode(value)


def job_url(base: str, route: str) -> str:
    """The address of a job; `route` is the path at the container, such as `predict`.

    The part behind the prefix is never left out: go-livepeer redirects a path without it.
    """
    return f"{base}{JOB_PATH}{path_of(route.lstrip('/'))}"


@functools.lru_cache(maxsize=256)
def path_of(route: str) -> str:
    """A route as it goes over the wire; what is escaped in it already stays as it is."""
    return quote(_LONE_PERCENT.sub("%25", route), safe="/%")


def token_headers(capability: str, address: str, signature: str) -> dict[str, str]:
    return {
        CAPABILITY: capability,
        ETH_ADDRESS: base64_json({"addr": address, "sig": signature}),
    }


def capacity_in(token: Mapping[str, Any]) -> int:
    """Free places by a token reply; go-livepeer leaves zero out, so absent means none.

    Raises `ValueError` for what is no such number.
    """
    value = token.get("available_capacity", 0)
    if type(value) is not int or abs(value) > INT64:
        raise ValueError(f"its available_capacity is no count: {_quoted(value)}")
    return value


def price_in(token: Mapping[str, Any]) -> Fraction:
    """Wei per unit by a token reply; a free one is `{"pixelsPerUnit": 1}`, zero left out.

    Raises `ValueError` for what is no price: to take it for free would be a guess.
    """
    price = token.get("price")
    if price is None:
        return Fraction(0)
    if not isinstance(price, Mapping):
        raise ValueError(f"its price is none: {_quoted(price)}")
    return amount(price.get("pricePerUnit")) / (amount(price.get("pixelsPerUnit")) or 1)


def amount(value: Any) -> Fraction:
    """A number of a price: go-livepeer's are int64, as numbers or as text."""
    if value is None:
        return Fraction(0)
    # Nothing is calculated before its size is known: `Fraction("1e999999999")` never returns.
    if isinstance(value, str) and (match := _DECIMAL.fullmatch(value)):
        return Fraction(match[0])
    if type(value) is float and (value == 0 or 1e-19 <= value <= INT64):
        return Fraction(repr(value))  # as it was written
    if type(value) is int and 0 <= value <= INT64:
        return Fraction(value)
    raise ValueError(f"its price is none: {_quoted(value)}")


def _quoted(value: Any) -> str:
    return repr(value)[:60] if isinstance(value, (str, float)) else f"a {type(value).__name__}"


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What an error's body says, whatever its shape: our runner's, FastAPI's, or plain text."""

    message: str
    type: str | None = None
    fields: tuple[FieldError, ...] = ()
    retry_after: float | None = None


def error_body(body: bytes | str) -> ErrorBody:
    """Read an error's body. An orchestrator makes every one `text/plain` and adds a line end, so
    only the content tells."""
    text = body if isinstance(body, str) else body.decode("utf-8", "replace")
    text = text.strip()
    try:
        value = loads(text)
    except ValueError:
        return ErrorBody(printable(text, TEXT))
    return error_value(value, text)


def error_value(value: Any, text: str = "") -> ErrorBody:
    if not isinstance(value, Mapping):
        return ErrorBody(printable(value if isinstance(value, str) and value else text, TEXT))
    error = value.get("error", value)
    if isinstance(error, str):
        return ErrorBody(printable(error, TEXT))
    if not isinstance(error, Mapping):
        error = value
    fields = tuple(_fields(error.get("fields") or error.get("detail")))
    message = _line(error.get("message")) or _line(error.get("detail"))
    kind = error.get("type")
    return ErrorBody(
        printable(message, TEXT) or ("the input was refused" if fields else printable(text, TEXT)),
        printable(kind, FIELD_LENGTH) if isinstance(kind, str) else None,
        fields,
        wait_in(error.get("retry_after", value.get("retry_after"))),
    )


def _fields(raw: Any) -> list[FieldError]:
    if isinstance(raw, Mapping):
        return [_field(name, message) for name, message in islice(raw.items(), FIELDS)]
    if not isinstance(raw, list):
        return []
    found: list[FieldError] = []
    for item in raw[:FIELDS]:
        if not isinstance(item, Mapping):
            found.append(_field("", item))
            continue
        where = item.get("field", item.get("name", item.get("loc", "")))
        if isinstance(where, list):
            # FastAPI puts where it was found (`body`) before the name.
            where = ".".join(_line(part) for part in where[:TEXT] if part != "body")
        found.append(_field(where, item.get("message", item.get("msg", ""))))
    return found


def _field(name: Any, message: Any) -> FieldError:
    return FieldError(printable(_line(name), FIELD_LENGTH), printable(_line(message), FIELD_LENGTH))


def _line(value: Any) -> str:
    """A value of others as text: what is no text nor number is named by its kind."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (bool, int, float)):
        return "" if value is None else str(value)
    return "[…]" if isinstance(value, list) else "{…}"


def wait_in(value: Any) -> float | None:
    """Seconds to wait by an answer's body or its header, or None for what says none."""
    if isinstance(value, str):
        value = float(value) if _DECIMAL.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= WAIT_LIMIT else None
