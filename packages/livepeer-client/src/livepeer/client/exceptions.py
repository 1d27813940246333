"""Everything that a call can raise.

    LivepeerError
    ├── ConfigurationError              the gateway was set up wrongly (a ValueError)
    ├── NoOrchestratorError             nobody to ask: none known, reachable, or fit
    │   └── NoCapacityError             full right now: `.retry_after` seconds, where told
    ├── PaymentRequiredError            it has a price, and there are no means to pay
    │   └── InsufficientBalanceError    there were means, and they are used up
    ├── InvalidInputError               refused, so it did not run: `.fields` (a ValueError)
    ├── PipelineError                   it ran and failed: `.type`
    ├── CallTimeoutError                the deadline passed: `.phase` (a TimeoutError)
    ├── ConnectionFailedError           none, or it broke (a ConnectionError)
    │   ├── CertificateError            the certificate could not be verified
    │   │   └── CertificateChangedError it is another one than the pinned one
    │   ├── StreamInterruptedError      a stream ended without its end mark
    │   └── SessionEndedError           a live session is over, though nobody ended it
    └── ProtocolError                   no answer at all: wrong JSON, an empty body

Each has `.capability`, `.orchestrator`, `.job_id`, `.status`, `.may_have_run`, `.rejections` and
`.received`. `may_have_run` is the question that matters before calling again: False means that the
pipeline has certainly not run for this call. `rejections` lists every attempt in order, with the
orchestrator, the reason, the status and how far it came. `received` are the values of a stream that
came before the error: all of them where `run` collected it, the last ones (4,096 at most, within
4 Mi characters) where it was iterated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    """The root: whatever a call raises on purpose is one of these.

    Its message is one line that a terminal and a log print as it is, whoever wrote parts of it.
    """

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
        self._passing = passing
        self.message = printable(message, _MESSAGE_LIMIT)
        super().__init__(self.message)
        self.capability = capability
        self.orchestrator = orchestrator
        self.job_id = job_id
        self.status = status
        self.may_have_run = may_have_run
        self.rejections: tuple[Rejection, ...] = tuple(rejections)
        self.received: tuple[Any, ...] = tuple(received)


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
    """The gateway cannot work as it was set up; the message names the argument or variable."""


class NoOrchestratorError(LivepeerError):
    """No orchestrator could be asked to run this."""


class NoCapacityError(NoOrchestratorError):
    """Known, but nobody has room at this moment. `retry_after`: seconds, where somebody said so."""

    def __init__(self, message: str, *, retry_after: float | None = None, **where: Any) -> None:
        super().__init__(message, passing=True, **where)
        self.retry_after = retry_after


class PaymentRequiredError(LivepeerError):
    """The capability has a price, and this gateway has no means to pay it."""


class InsufficientBalanceError(PaymentRequiredError):
    """The payment, or what is left of the balance, does not cover the job."""


class InvalidInputError(LivepeerError, ValueError):
    """The input was refused, here or by the pipeline; `fields` says what and why."""

    def __init__(self, message: str, *, fields: Sequence[FieldError] = (), **where: Any) -> None:
        super().__init__(message, **where)
        self.fields: tuple[FieldError, ...] = tuple(fields)


class PipelineError(LivepeerError):
    """The pipeline failed. `type` is its own name for the failure."""

    def __init__(self, message: str, *, type: str | None = None, **where: Any) -> None:
        super().__init__(message, **where)
        self.type = type


class CallTimeoutError(LivepeerError, TimeoutError):
    """The one deadline of the call passed; `phase` says what it was waiting for."""

    def __init__(self, message: str, *, phase: str = "", **where: Any) -> None:
        super().__init__(message, **where)
        self.phase = phase


class ConnectionFailedError(LivepeerError, ConnectionError):
    """No connection could be made (`may_have_run` is False), or it broke later on."""


class CertificateError(ConnectionFailedError):
    """The host's certificate could not be verified; nothing was sent."""


class CertificateChangedError(CertificateError):
    """The host shows another certificate than the pinned one; nothing was sent."""


class StreamInterruptedError(ConnectionFailedError):
    """A stream ended without `[DONE]`: what came is not known to be all."""


class SessionEndedError(ConnectionFailedError):
    """A live session is over, though this side did not end it; the message says why."""


class ProtocolError(LivepeerError):
    """The answer breaks the protocol, so there is no result to give."""
