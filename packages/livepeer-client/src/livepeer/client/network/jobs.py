"""A job: what is to be run, and the one whose answer has begun."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from livepeer.client.exceptions import (
    ConfigurationError,
    LivepeerError,
    redact,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import read
from livepeer.client.network.selection import Attempt, located
from livepeer.client.payments.bill import Bill
from livepeer.client.payments.budget import Budget
from livepeer.client.protocol.discovery import ReservedPlace
from livepeer.client.protocol.wire import JSON, JobHeader, compact_json
from livepeer.client.untrusted import secrets_in
from livepeer.trickle.http.call import HTTPCall

logger = logging.getLogger(__name__)

ANSWER_LIMIT: Final = 1 << 30
"""A whole answer that is kept in memory; more than any model's output should be."""


@dataclass(slots=True)  # made for each call: freezing would double its cost
class Task:
    """What is to be run, wherever that will be."""

    capability: str
    body: bytes = b""
    content_type: str = JSON
    route: str = "predict"
    model: str | None = None
    idempotent: bool = False
    max_retries: int | None = None
    """Tries after the first one where nobody had room; as the gateway says where this is None."""
    session: bool = False
    """Whether it begins a session, which apps of single requests do not have, and others want."""
    path: str | None = None
    """An endpoint of the road in place of that for jobs."""
    job_id: str | None = None
    parameters: str = "{}"
    request: str | None = None
    budget: Budget | None = None
    """What the call may spend; that of the gateway where this is None."""
    price: Fraction | None = None
    """Wei for each unit that it was begun at, where it goes on: dearer it is paid only within the
    gateway's `max_price`."""
    sending: Callable[[str, str], None] | None = None
    """Told of everyone that it is sent to, before it is: the road and the address."""

    def by(self, road: str) -> Task:
        """The same as it goes by this road."""
        return self

    def header(self, deadline: Deadline) -> JobHeader:
        request = self.request or (compact_json({"model": self.model}) if self.model else "{}")
        return JobHeader(
            id=self.job_id or os.urandom(16).hex(),
            capability=self.capability,
            timeout_seconds=deadline.whole_seconds(),
            request=request,
            parameters=self.parameters,
        )


@dataclass(slots=True)  # made for each call: freezing would double its cost
class RunningJob:
    """A job whose answer has begun with a good status."""

    response: HTTPCall
    where: Mapping[str, Any]
    road: str
    gateway: bool
    """The answer came through a go-livepeer gateway, which changes it."""
    deadline: Deadline
    attempts: tuple[Attempt, ...] = ()
    """Of those who were asked before it began."""
    price: Fraction = Fraction(0)
    """Wei for each unit, 0 where it is free: what goes on has to be paid for again and again."""
    sent: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The headers that it was sent with, which are our secrets."""
    reserved: ReservedPlace | None = field(default=None, repr=False)
    """The session of a live runner that it runs in, to be released by whoever reads the answer."""
    budget: Budget | None = None
    bill: Bill | None = None
    """What this one answer is paid by, beside being read; it ends with the answer."""
    ends_with_done: bool = True
    """A stream of it is whole only with `[DONE]`; else the orderly end of its body is its end."""
    output: Mapping[str, Any] | None = field(default=None, repr=False)
    """The JSON Schema of the result, where it is known."""

    @property
    def headers(self) -> Mapping[str, str]:
        return self.response.headers

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of our headers nobody may read in an error, should the answer repeat it."""
        return secrets_in(self.sent)

    @property
    def spent(self) -> Fraction:
        """Wei that its call has paid so far."""
        return self.budget.spent if self.budget is not None else Fraction(0)

    @property
    def place(self) -> str:
        """Who runs it, or the gateway that was called."""
        return str(self.where["orchestrator"])

    async def body(self, limit: int = ANSWER_LIMIT) -> bytes:
        """The whole answer, of `limit` bytes at most."""
        try:
            return await read(self.response, self.deadline, limit=limit, job=True, where=self.where)
        except LivepeerError as error:
            raise self.failed(error) from error.__cause__
        finally:
            self.settle()

    def failed(self, error: LivepeerError) -> LivepeerError:
        """`error`, with the attempts that led to it."""
        redact(error, self.secrets)
        if self.bill is not None:
            error = self.bill.failed(error)
        attempts = (*self.attempts, Attempt(error, "response"))
        error.orchestrator = error.orchestrator or self.where.get("orchestrator")
        error.rejections = tuple(attempt.rejection for attempt in attempts)
        logger.debug("job %s failed: %s", self.where.get("job_id"), error)
        return located(error)

    def close(self) -> None:
        """Leave: the connection is closed, which is how go-livepeer is told to stop the job."""
        self.response.abort()
        self.settle()

    def settle(self) -> None:
        """Nothing more is paid for it."""
        if self.bill is not None:
            self.bill.stop()


def check_capability(name: object) -> None:
    """Raises `ConfigurationError` for what cannot be the name of a capability."""
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ConfigurationError(f"the name of a capability is a line of text, not {name!r}")
