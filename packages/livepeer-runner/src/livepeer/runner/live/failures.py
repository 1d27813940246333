"""Errors of a running stream: counted, told at a bounded rate, and too many in a row end it."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from livepeer.runner import logs
from livepeer.runner.errors import JobError
from livepeer.runner.live.calls import HookHung
from livepeer.runner.live.request import label
from livepeer.runner.live.status import StreamStatus

logger = logging.getLogger(__name__)

TELL_EVERY = 1.0
"""Seconds between two error events; what comes in between is counted in the next one."""
REFUSALS_TOLD = 10
"""Refusals of what a caller sent that are told in that time."""
_REPORT = "stream %s: %s (%d since the last report)"


class StreamFailed(Exception):
    """The stream cannot go on; the text is the reason that its caller is told."""


class ErrorBudget:
    """One for each stream."""

    def __init__(
        self, most: int, status: StreamStatus, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self._most = most
        self._status = status
        self._tell = tell
        self._in_a_row: Counter[str] = Counter()
        self._untold = 0
        self._told_at = float("-inf")

    def succeeded(self, where: str) -> None:
        """The row is of one hook: good sound does not excuse bad pictures."""
        del self._in_a_row[where]

    def failed(self, where: str, error: Exception) -> None:
        """Count it. Raises `StreamFailed` where it is one too many."""
        self._in_a_row[where] += 1
        message = described(where, error)
        self._report(where, error, message)
        row = self._in_a_row[where]
        if row >= self._most:
            raise StreamFailed(f"{row} errors in a row; the last: {message}") from error

    def report(self, where: str, error: Exception) -> None:
        """Count and tell one that is outside the budget of frames."""
        self._report(where, error, described(where, error))

    def _report(self, where: str, error: Exception, message: str) -> None:
        self._status.failed(message)
        hung = isinstance(error, HookHung)
        if hung:
            self._status.hung[where] += 1
        self._untold += 1
        now = time.monotonic()
        if now - self._told_at < TELL_EVERY and not hung:
            return
        stream = label(self._status.stream_id)
        if hung or isinstance(error, JobError):
            logger.warning(_REPORT, stream, message, self._untold)
        else:
            trace = logs.authors(error)
            logger.error(
                _REPORT, label(self._status.stream_id), message, self._untold, exc_info=trace
            )
        self._tell(error_event(where, error, message, count=self._untold))
        self._untold, self._told_at = 0, now


class Refusals:
    """What a caller sent and could not be taken: told by events, since nobody may wait for an
    answer. A flood of them is counted, so that the status still gets through."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell
        self._last: deque[float] = deque(maxlen=REFUSALS_TOLD)
        self._untold = 0

    def tell(self, where: str, error: JobError, message: str) -> None:
        self._untold += 1
        now = time.monotonic()
        if len(self._last) == REFUSALS_TOLD and now - self._last[0] < TELL_EVERY:
            return
        self._last.append(now)
        self._tell(error_event(where, error, message, count=self._untold))
        self._untold = 0


def first_error(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first error of a task group: the others came of its end."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def described(where: str, error: BaseException) -> str:
    """What the caller is told: its own kind of error in full, of any other only the type."""
    if isinstance(error, JobError):
        return f"{where}: {error.message}"
    if isinstance(error, HookHung):
        return str(error)
    return f"{where} raised {type(error).__name__}"


def error_event(where: str, error: BaseException, message: str, *, count: int) -> dict[str, Any]:
    event: dict[str, Any] = {
        "type": "error",
        "error": {
            "type": error.type if isinstance(error, JobError) else "pipeline_error",
            "message": message,
        },
        "hook": where,
        "count": count,
        "timestamp": time.time(),
    }
    if isinstance(error, JobError) and error.fields:
        event["error"]["fields"] = [
            {"name": one.name, "message": one.message, "type": one.type} for one in error.fields
        ]
    return event
