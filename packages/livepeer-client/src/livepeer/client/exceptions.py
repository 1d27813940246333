"""Everything that a call can raise.

    LivepeerError
    ├── ConfigurationError              a setting or argument is wrong (a ValueError)
    ├── NoOrchestratorError             nobody to ask: none known, reachable, or fit
    │   └── NoCapacityError             full right now: `.retry_after` seconds, if known
    ├── PaymentRequiredError            it has a price, and there are no means to pay
    │   └── InsufficientBalanceError    there were means, and they are used up
    ├── InvalidInputError               refused, so it did not run: `.fields` (a ValueError)
    ├── PipelineError                   it ran and failed: `.type`
    ├── CallTimeoutError                the deadline passed: `.phase` (a TimeoutError)
    ├── ConnectionFailedError           no connection, or it broke (a ConnectionError)
    │   ├── CertificateError            the certificate could not be verified
    │   │   └── CertificateChangedError it is not the pinned one
    │   ├── StreamInterruptedError      a stream ended without its end mark
    │   └── SessionEndedError           a live session is over, though nobody ended it
    └── ProtocolError                   the answer breaks the protocol: wrong JSON, an empty body

Each has these attributes, None or empty if not known:

- `code`: the name of what went wrong, which never changes; `livepeer explain CODE` says more.
- `capability`, `orchestrator` (its URL, or the gateway's), `job_id`, `status` (of HTTP).
- `may_have_run`: False means that the pipeline has certainly not run for this call, so that calling
  again does no harm.
- `rejections`: every attempt in order (`Rejection`).
- `received`: the values of a stream before the error: all of them if `run` collected it, else the
  last 4,096 within 4 Mi characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

from livepeer.client.types import FieldError, Rejection
from livepeer.client.untrusted import redacted
from livepeer.trickle.text import printable

__all__ = [
    "CallTimeoutError",
    "CertificateChangedError",
    "CertificateError",
    "ConfigurationError",
    "ConnectionFailedError",
    "InsufficientBalanceError",
    "InvalidInputError",
    "LivepeerError",
    "NoCapacityError",
    "NoOrchestratorError",
    "PaymentRequiredError",
    "PipelineError",
    "ProtocolError",
    "SessionEndedError",
    "StreamInterruptedError",
]


_MESSAGE_LIMIT = 4_000
"""Letters of a message; what others had to say in it has been cut before that."""


class LivepeerError(Exception):
    """The root of all errors of a call.

    `message` is one line of at most 4,000 characters, without control characters.
    """

    code: ClassVar[str] = "call_failed"

    def __init__(
        self,
        message: str,
        *,
        capability: str | None = None,
        orchestrator: str | None = None,
        job_id: str | None = None,
        status: int | None = None,
        may_have_run: bool = False,
        rejections: Sequence[Rejection] = (),
        received: Sequence[Any] = (),
        passing: bool = False,
    ) -> None:
        self._passing, self._paid = passing, False
        self.message = printable(message, _MESSAGE_LIMIT)
        super().__init__(self.message)
        self.capability = capability
        self.orchestrator = orchestrator
        self.job_id = job_id
        self.status = status
        self.may_have_run = may_have_run
        self.rejections: tuple[Rejection, ...] = tuple(rejections)
        self.received: tuple[Any, ...] = tuple(received)


def mark_paid(error: LivepeerError, spent: Fraction) -> None:
    """Something was paid before it: it says how much, and is not tried anywhere else."""
    if not error._paid:
        error._paid = True
        reword(error, f"{error.message} ({float(spent):g} wei were paid)")


def is_paid(error: LivepeerError) -> bool:
    """Was anything paid before it?"""
    return error._paid


def reword(error: LivepeerError, message: str) -> None:
    """Let it say this from now on."""
    error.message = printable(message, _MESSAGE_LIMIT)
    error.args = (error.message, *error.args[1:])


def redact(error: LivepeerError, secrets: Sequence[str]) -> None:
    """Take out what we sent and nobody may read, should the other side have repeated it."""
    reword(error, redacted(error.message, secrets))


def is_passing(error: LivepeerError) -> bool:
    """Did nothing run, and may it be otherwise in a moment?"""
    return error._passing


class ConfigurationError(LivepeerError, ValueError):
    """A setting is wrong or missing; the message names the argument or variable."""

    code = "configuration"


class NoOrchestratorError(LivepeerError):
    """No orchestrator could be asked to run this."""

    code = "no_orchestrator"


class NoCapacityError(NoOrchestratorError):
    """Nobody has room at this moment. `retry_after`: seconds to wait, None if nobody said."""

    code = "no_capacity"

    def __init__(self, message: str, *, retry_after: float | None = None, **where: Any) -> None:
        super().__init__(message, passing=True, **where)
        self.retry_after = retry_after


class PaymentRequiredError(LivepeerError):
    """The capability has a price, and this gateway has no means to pay it."""

    code = "payment_required"


class InsufficientBalanceError(PaymentRequiredError):
    """The payment, or what is left of the balance, does not cover the job."""

    code = "insufficient_balance"


class InvalidInputError(LivepeerError, ValueError):
    """The input was refused, by its schema or by the pipeline; `fields` says what and why."""

    code = "input_refused"

    def __init__(self, message: str, *, fields: Sequence[FieldError] = (), **where: Any) -> None:
        super().__init__(message, **where)
        self.fields: tuple[FieldError, ...] = tuple(fields)


class PipelineError(LivepeerError):
    """The pipeline failed. `type` is its own name for the failure, or None."""

    code = "pipeline_failed"

    def __init__(self, message: str, *, type: str | None = None, **where: Any) -> None:
        super().__init__(message, **where)
        self.type = type


class CallTimeoutError(LivepeerError, TimeoutError):
    """The deadline of the call passed; `phase` is what it was waiting for (`connect`, `token`,
    `answer`, `stream`), or `pipeline` if the pipeline overran a limit of its own."""

    code = "call_timeout"

    def __init__(self, message: str, *, phase: str = "", **where: Any) -> None:
        super().__init__(message, **where)
        self.phase = phase


class ConnectionFailedError(LivepeerError, ConnectionError):
    """No connection could be made (`may_have_run` is False), or it broke later."""

    code = "connection_failed"


class CertificateError(ConnectionFailedError):
    """The host's certificate could not be verified; nothing was sent."""

    code = "certificate_untrusted"


class CertificateChangedError(CertificateError):
    """The host shows another certificate than the pinned one; nothing was sent."""

    code = "certificate_changed"


class StreamInterruptedError(ConnectionFailedError):
    """A stream ended without `[DONE]`: `received` may not be all of it."""

    code = "stream_interrupted"


class SessionEndedError(ConnectionFailedError):
    """A live session is over, though this side did not end it; the message says why."""

    code = "session_ended"


class ProtocolError(LivepeerError):
    """The answer breaks the protocol, so that there is no result."""

    code = "answer_malformed"
