"""A job whose answer has begun."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from livepeer.client.exceptions import LivepeerError
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import read
from livepeer.client.network.selection import Attempt, located

logger = logging.getLogger(__name__)

ANSWER_LIMIT: Final = 1 << 30
"""A whole answer that is kept in memory; more than any model's output should be."""


@dataclass(slots=True)
class RunningJob:
    """A job whose answer has begun with a good status."""

    response: aiohttp.ClientResponse
    where: Mapping[str, Any]
    gateway: bool
    deadline: Deadline
    attempts: tuple[Attempt, ...] = ()
    priced: bool = False
    """It has a price, so that what goes on has to be paid for again and again."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What of our headers nobody may read in an error, should the answer repeat it."""
    output: Mapping[str, Any] | None = field(default=None, repr=False)
    """The JSON Schema of the result, where it is known."""

    @property
    def headers(self) -> Mapping[str, str]:
        return self.response.headers

    async def body(self, limit: int = ANSWER_LIMIT) -> bytes:
        """The whole answer, of `limit` bytes at most."""
        try:
            return await read(self.response, self.deadline, limit=limit, job=True, where=self.where)
        except LivepeerError as error:
            raise self.failed(error) from error.__cause__

    def failed(self, error: LivepeerError) -> LivepeerError:
        """`error`, with the attempts that led to it."""
        error._redact(self.secrets)
        attempts = (*self.attempts, Attempt(error, "response"))
        error.orchestrator = error.orchestrator or self.where.get("orchestrator")
        error.rejections = tuple(attempt.rejection for attempt in attempts)
        logger.debug("job %s failed: %s", self.where.get("job_id"), error)
        return located(error)

    def close(self) -> None:
        """Leave: the connection is closed, which is how go-livepeer is told to stop the job."""
        self.response.close()
