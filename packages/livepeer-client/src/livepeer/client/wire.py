"""What goes over the wire between a caller, an orchestrator and a gateway. No I/O.

Names and shapes are go-livepeer's (package `byoc`), as its recorded answers show them.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final
from urllib.parse import quote

from livepeer.client.types import FieldError

JOB: Final = "Livepeer"
PAYMENT: Final = "Livepeer-Payment"
CAPABILITY: Final = "Livepeer-Capability"
ETH_ADDRESS: Final = "Livepeer-Eth-Address"

TOKEN_PATH: Final = "/process/token"
JOB_PATH: Final = "/process/request/"


@dataclass(frozen=True, slots=True)
class Job:
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


def compact_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def job_url(base: str, route: str) -> str:
    """The address of a job; `route` is the path at the container, such as `predict`.

    The part behind the prefix is never left out: go-livepeer redirects a path without it.
    """
    return f"{base}{JOB_PATH}{quote(route.lstrip('/'), safe='/')}"


def token_headers(capability: str, address: str, signature: str) -> dict[str, str]:
    return {
        CAPABILITY: capability,
        ETH_ADDRESS: base64_json({"addr": address, "sig": signature}),
    }


def capacity_in(token: Mapping[str, Any]) -> int:
    """Free places by a token reply; go-livepeer leaves zero out, so absent means none."""
    value = token.get("available_capacity", 0)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def price_in(token: Mapping[str, Any]) -> Fraction:
    """Wei per unit by a token reply; a free one is `{"pixelsPerUnit": 1}`, zero left out."""
    price = token.get("price")
    if not isinstance(price, Mapping):
        return Fraction(0)
    try:
        return Fraction(price.get("pricePerUnit") or 0) / Fraction(price.get("pixelsPerUnit") or 1)
    except (TypeError, ValueError, ZeroDivisionError):
        return Fraction(0)


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
        value = json.loads(text)
    except ValueError:
        return ErrorBody(text[:2000])
    return error_value(value, text)


def error_value(value: Any, text: str = "") -> ErrorBody:
    if not isinstance(value, Mapping):
        return ErrorBody(str(value)[:2000] if value else text[:2000])
    error = value.get("error", value)
    if isinstance(error, str):
        return ErrorBody(error)
    if not isinstance(error, Mapping):
        error = value
    fields = tuple(_fields(error.get("fields") or error.get("detail")))
    detail = error.get("detail")
    message = error.get("message") or (detail if isinstance(detail, str) else "")
    kind = error.get("type")
    return ErrorBody(
        str(message) or ("the input was refused" if fields else text[:2000]),
        kind if isinstance(kind, str) else None,
        fields,
        _seconds(error.get("retry_after", value.get("retry_after"))),
    )


def _fields(raw: Any) -> list[FieldError]:
    if isinstance(raw, Mapping):
        return [FieldError(str(name), str(message)) for name, message in raw.items()]
    if not isinstance(raw, list):
        return []
    found: list[FieldError] = []
    for item in raw:
        if not isinstance(item, Mapping):
            found.append(FieldError("", str(item)))
            continue
        where = item.get("field", item.get("name", item.get("loc", "")))
        if isinstance(where, list):
            # FastAPI puts where it was found (`body`) before the name.
            where = ".".join(str(part) for part in where if part != "body")
        found.append(FieldError(str(where), str(item.get("message", item.get("msg", "")))))
    return found


def _seconds(value: Any) -> float | None:
    if isinstance(value, (int, float)) and math.isfinite(value) and value >= 0:
        return float(value)
    return None
