"""What an answer means: a value, or the error that it is."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from livepeer.client.exceptions import (
    CallTimeoutError,
    InsufficientBalanceError,
    InvalidInputError,
    LivepeerError,
    NoCapacityError,
    NoOrchestratorError,
    PaymentRequiredError,
    PipelineError,
    ProtocolError,
)
from livepeer.client.files import FileOutput, decode, may_hold_files
from livepeer.client.protocol.wire import ErrorBody, error_body, wait_in
from livepeer.client.untrusted import loads
from livepeer.trickle.text import printable

EVENT_STREAM: Final = "text/event-stream"
_KIND_LENGTH: Final = 256
"""Letters of a media type: more than RFC 6838 allows."""
_WANTS_TLS: Final = "http request to an https server"
"""What Go's server answers to plain HTTP where it speaks TLS."""

_NOT_RUN: Final = frozenset({"over_capacity", "not_ready"})
"""What our runner's errors say of a job that has not begun, whichever way they come."""
_INTERRUPTED: Final = "interrupted"
"""A stop ended the job after it had begun: not for another orchestrator to do again."""


def media_type(headers: Mapping[str, str]) -> str:
    return _media_type(headers.get("Content-Type", ""))


@functools.lru_cache(maxsize=64)
def _media_type(text: str) -> str:
    return text.partition(";")[0].strip().lower()[:_KIND_LENGTH]


def value_of(
    body: bytes, headers: Mapping[str, str], *, gateway: bool, schema: Any, where: Mapping[str, Any]
) -> Any:
    """The value that a whole, good answer carries.

    A gateway guesses the type from the bytes (JSON arrives as `text/plain`), so there the content
    decides. An empty body is `None` from an orchestrator, and an error from a gateway, which
    answers an empty 200 where every orchestrator failed.
    """
    if not body:
        if gateway:
            raise ProtocolError(
                "the gateway answered 200 without a body, as it does where every orchestrator that"
                " it tried failed: the job may have run",
                may_have_run=True,
                **where,
            )
        return None
    kind = media_type(headers)
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return _json(body, schema)
        except ValueError as error:
            raise ProtocolError(
                f"the answer says that it is JSON, and is not ({printable(str(error), 200)}):"
                f" {_head(body)}",
                may_have_run=True,
                **where,
            ) from error
    if kind == "" or (gateway and kind in ("text/plain", "application/octet-stream")):
        try:
            return _json(body, schema)
        except ValueError:
            pass
    if kind.startswith("text/") or (not kind and _is_text(body)):
        return body.decode("utf-8", "replace")
    return FileOutput(body, kind or "application/octet-stream")


def _json(body: bytes, schema: Any) -> Any:
    value = loads(body)
    return decode(value, schema) if schema is not None or may_hold_files(body) else value


def error_of(
    status: int, headers: Mapping[str, str], body: bytes, *, gateway: bool, where: Mapping[str, Any]
) -> LivepeerError:
    """The error that an answer is, by its status and its text."""
    told = error_body(body)
    named: dict[str, Any] = dict(where) | {"status": status}
    text = told.message or "no reason given"
    low = text.lower()
    capability = where.get("capability")
    if gateway and status == 400 and low.startswith("no orchestrators found"):
        return NoOrchestratorError(
            f"the gateway found nobody for {capability!r}: not registered, no free capacity, or not"
            " reachable (a gateway does not tell which)",
            passing=True,
            **named,
        )
    # An orchestrator's own words, which are no JSON and come with these statuses alone (recorded):
    # a pipeline that says the same has run.
    by_orchestrator = told.type is None and status in (400, 402, 503)
    if by_orchestrator and low.startswith("no capacity available"):
        return NoCapacityError(
            f"{capability!r} has no room there, or nothing of that name is registered: {text}",
            **named,
        )
    if status == 400 and _WANTS_TLS in low:
        return NoOrchestratorError(
            f"it speaks TLS: write https:// in the address of {where.get('orchestrator')}", **named
        )
    if by_orchestrator and "insufficient balance" in low:
        return InsufficientBalanceError(
            f"the balance does not cover {capability!r}: {text}", **named
        )
    match status:
        case _ if told.type == _INTERRUPTED or (
            status == 503 and told.type not in {None, *_NOT_RUN}
        ):
            return PipelineError(
                f"{capability!r} was interrupted: {text}",
                type=told.type,
                may_have_run=True,
                **named,
            )
        case 402:
            return PaymentRequiredError(f"{capability!r} has to be paid for: {text}", **named)
        case 429 | 503:
            retry_after = told.retry_after
            if retry_after is None:
                retry_after = wait_in(headers.get("Retry-After", "").strip())
            wait = f"; try again in {retry_after:g} s" if retry_after is not None else ""
            return NoCapacityError(
                f"no room for {capability!r}: {text}{wait}", retry_after=retry_after, **named
            )
        case 408 | 504:
            return CallTimeoutError(
                f"the pipeline overran its own limit: {text}",
                phase="pipeline",
                may_have_run=True,
                **named,
            )
        case 404:
            return PipelineError(
                f"nothing there answers this route of {capability!r}: {text}"
                + (" (is this a gateway's address?)" if gateway else ""),
                type=told.type,
                **named,
            )
        case _ if 400 <= status < 500 and status not in (401, 403):
            return InvalidInputError(_with_fields(told, text), fields=told.fields, **named)
        case _ if status >= 400:
            hint = ""
            if "removing capability" in low:
                hint = " (the orchestrator lost its container and has dropped the capability)"
            return PipelineError(
                f"{capability!r} failed with {status}: {text}{hint}",
                type=told.type,
                may_have_run=True,
                **named,
            )
    return ProtocolError(
        f"answered {status}, which no orchestrator or gateway does"
        + (" (redirects are not followed)" if 300 <= status < 400 else ""),
        **named,
    )


def error_of_event(
    told: ErrorBody, event: str, *, where: Mapping[str, Any], began: bool
) -> LivepeerError:
    """The error that an event in a stream is. `began`: something came before it, so that the job
    has run, whatever the event says."""
    named: dict[str, Any] = dict(where) | {"may_have_run": True}
    if event == "insufficient balance":
        return InsufficientBalanceError("the balance was used up while the stream ran", **named)
    if told.fields or told.type in ("invalid_input", "validation_error"):
        return InvalidInputError(_with_fields(told, told.message), fields=told.fields, **named)
    if told.type in _NOT_RUN and not began:
        named["may_have_run"] = False
        return NoCapacityError(told.message, retry_after=told.retry_after, **named)
    if told.type == "timeout":
        return CallTimeoutError(told.message, phase="pipeline", **named)
    message = f"{named.get('capability')!r} failed: {told.message or 'no reason given'}"
    return PipelineError(message, type=told.type, **named)


def _with_fields(told: ErrorBody, text: str) -> str:
    if not told.fields:
        return f"the input was refused: {text}"
    return "the input was refused: " + "; ".join(str(field) for field in told.fields)


def _is_text(body: bytes) -> bool:
    try:
        return body.decode("utf-8").isprintable() or b"\0" not in body
    except UnicodeDecodeError:
        return False


def _head(body: bytes) -> str:
    text = body[:60].decode("utf-8", "replace")
    return repr(text + ("…" if len(body) > 60 else ""))
