"""The errors that a caller sees, in one shape: `{"error": {"type", "message", "fields"}}`.

`type` never changes; it is the `code` of the class here, and `livepeer explain CODE` says more.

JobError                 500  base: an error whose message may be shown to the caller
├── InvalidInput         422  the caller's input is wrong; `fields` says where
├── Unauthorized         401  the bearer token is missing or not one that was given out
├── RouteNotFound        404  no such route
├── MethodNotAllowed     405  the route exists, for another method
├── Interrupted          409  a stop ended the job after it had begun
├── PayloadTooLarge      413  the body is over the limit
├── PipelineError        500  the pipeline failed, and says why
├── NotReady             503  loading, failed to load, or shutting down; `retry_after` where known
├── OverCapacity         503  every slot is taken, and none came free; `retry_after` seconds
└── JobTimeout           504  the job overran the pipeline's `timeout`

Which one to raise matters on the way to the caller: a Livepeer gateway takes every 4xx as the final
answer and tries the next orchestrator on 5xx. So 4xx blames the caller's input, and nothing else
(but `Interrupted`: whether to run a job again that had begun is its caller's to decide).
A pipeline may raise any of these from `predict`; every other exception becomes a plain 500 whose
text stays in the log. A raised `Unauthorized` is answered as 500, since an orchestrator drops a
capability that answers 401.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from livepeer.runner.exceptions import RunnerError

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = [
    "FieldError",
    "Interrupted",
    "InvalidInput",
    "JobError",
    "JobTimeout",
    "MethodNotAllowed",
    "NotReady",
    "OverCapacity",
    "PayloadTooLarge",
    "PipelineError",
    "RouteNotFound",
    "Unauthorized",
    "error_body",
]

MOST_ERRORS = 20
MOST_LISTED = 5000
"""Pydantic gives all of its errors or none, with Python's lock held: more are not listed."""
_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of the input: `name` is a dotted path (`boxes.0.x`), `type` pydantic's name."""

    name: str
    message: str
    type: str = "value_error"


class JobError(RunnerError):
    """An error with a message for the caller, and the status that goes with it."""

    status: int = 500
    type: str = "pipeline_error"
    code = "pipeline_error"

    def __init__(
        self,
        message: str,
        *,
        fields: Sequence[FieldError] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fields = tuple(fields)
        self.retry_after = None if retry_after is None else max(1, math.ceil(retry_after))

    def headers(self) -> list[tuple[bytes, bytes]]:
        if self.retry_after is None:
            return []
        return [(b"retry-after", str(self.retry_after).encode())]


class InvalidInput(JobError):
    """The caller's input is wrong. `InvalidInput("no face in it", field="image")` names a field."""

    status = 422
    type = "invalid_input"
    code = "invalid_input"

    def __init__(
        self, message: str, *, field: str | None = None, fields: Sequence[FieldError] = ()
    ) -> None:
        if field is not None:
            fields = (*fields, FieldError(field, message))
        super().__init__(message, fields=fields)


class Unauthorized(JobError):
    """The bearer token is missing, or is not one that was given out."""

    status = 401
    type = "unauthorized"
    code = "unauthorized"


class RouteNotFound(JobError):
    """There is no such route."""

    status = 404
    type = "not_found"
    code = "not_found"


class MethodNotAllowed(JobError):
    """The route exists, for another method."""

    status = 405
    type = "method_not_allowed"
    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = tuple(allowed)

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"allow", ", ".join(self.allowed).encode())]


class Interrupted(JobError):
    """A stop ended the job after it had begun: a part of its work may be done.

    409 and not 503: a gateway sends what it was answered 5xx to the next orchestrator, where all of
    it would be done again; and where there is none, its caller would hear an empty 200.
    """

    status = 409
    type = "interrupted"
    code = "interrupted"


class PayloadTooLarge(JobError):
    """The body is over the limit."""

    status = 413
    type = "payload_too_large"
    code = "payload_too_large"


class PipelineError(JobError):
    """The pipeline failed, through no fault of the caller; the message is shown to the caller."""


class NotReady(JobError):
    """Loading, failed to load, or shutting down; `retry_after` where it is known."""

    status = 503
    type = "not_ready"
    code = "not_ready"


class OverCapacity(JobError):
    """Every slot is taken, and none came free in time; `retry_after` tells when to come again."""

    status = 503
    type = "over_capacity"
    code = "over_capacity"


class JobTimeout(JobError):
    """The job overran the pipeline's `timeout`."""

    status = 504
    type = "timeout"
    code = "timeout"


def invalid(error: ValidationError) -> InvalidInput:
    """Pydantic's first errors as the fields of an `InvalidInput`; values are not repeated."""
    count = error.error_count()
    if count > MOST_LISTED:
        return InvalidInput(f"the input is not valid: it has {count} errors, too many to list")
    listed = error.errors(include_url=False, include_context=False, include_input=False)
    fields = [
        FieldError(_name(one["loc"]), _words(one["msg"]), one["type"])
        for one in listed[:MOST_ERRORS]
    ]
    names = ", ".join(field.name for field in fields[:5] if field.name)
    message = (
        f"the input is not valid: {names}"
        if names
        else f"the input is not valid: {fields[0].message}"
    )
    if count > MOST_ERRORS:
        message += f" (the first {MOST_ERRORS} of {count} errors)"
    return InvalidInput(message, fields=fields)


def _words(message: str) -> str:
    """What a validator of an author's says, or of ours, without the kind that Pydantic puts first;
    `type` has it."""
    return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _name(location: tuple[int | str, ...]) -> str:
    """The dotted path; an unknown key is its caller's, and may be of any length."""
    name = ".".join(map(str, location))
    return name if len(name) <= _NAME_LENGTH else name[:_NAME_LENGTH] + "…"


def public(error: BaseException) -> JobError:
    """What the caller is told about `error`: its own words, or that the pipeline failed."""
    if not isinstance(error, JobError):
        return PipelineError("the pipeline failed; its log has the reason")
    if error.status == 401:
        return PipelineError("the pipeline was refused by a service that it uses")
    if not 400 <= error.status <= 599:
        return PipelineError(error.message, fields=error.fields)
    return error


ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message", "fields"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "fields": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "message", "type"],
                        "properties": {
                            "name": {"type": "string"},
                            "message": {"type": "string"},
                            "type": {"type": "string"},
                        },
                    },
                },
                "retry_after": {"type": "integer", "minimum": 1, "description": "seconds"},
            },
        }
    },
}
"""JSON Schema of the body of every error."""


def error_body(error: JobError) -> bytes:
    """The JSON body; the wait is in it too, because an orchestrator drops `Retry-After`."""
    content: dict[str, object] = {
        "type": error.type,
        "message": error.message,
        "fields": [asdict(field) for field in error.fields],
    }
    if error.retry_after is not None:
        content["retry_after"] = error.retry_after
    return json.dumps({"error": content}, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )
