"""Errors of a running stream: counted and told at a bounded rate; too many in a row end it."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from livepeer.runner import logs
from livepeer.runner.errors import JobError
from livepeer.runner.live.hooks import HookHung
from livepeer.runner.live.request import label
from livepeer.runner.live.status import StreamStatus

logger = logging.getLogger(__name__)

TELL_EVERY = 1.0
"""Seconds between two error events; the errors in between are counted in the next one."""
REFUSALS_TOLD = 10
"""How many refusals of what a caller sent are told in that time."""
SILENT_CALLS = 100
"""Calls of a hook without a frame after which that is told, once."""
_REPORT = "stream %s: %s (%d since the last report)"


Tell = Callable[[dict[str, Any]], None]
"""Puts an event onto the events channel; never waits."""


class StreamFailed(Exception):
    """The stream cannot go on; the text is the reason that its caller is told."""


class ErrorBudget:
    """The errors of one stream: `most` in a row of one hook end it."""

    def __init__(self, most: int, status: StreamStatus, tell: Tell) -> None:
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
        """Count and tell an error. Raises `StreamFailed` if it is one too many."""
        self._in_a_row[where] += 1
        message = described(where, error)
        self._report(where, error, message)
        row = self._in_a_row[where]
        if row >= self._most:
            raise StreamFailed(f"{row} errors in a row; the last: {message}") from error

    def report(self, where: str, error: Exception) -> None:
        """Count and tell an error that is outside the budget of frames."""
        self._report(where, error, described(where, error))

    def _report(self, where: str, error: Exception, message: str) -> None:
        hung = isinstance(error, HookHung)
        self._status.failed(message, hung=where if hung else None)
        self._untold += 1
        now = time.monotonic()
        if now - self._told_at < TELL_EVERY and not hung:
            return
        stream = label(self._status.stream_id)
        if hung or isinstance(error, JobError):
            logger.warning(_REPORT, stream, message, self._untold)
        else:
            trace = logs.authors(error)
            logger.error(_REPORT, stream, message, self._untold, exc_info=trace)
        self._tell(error_event(where, error, message, count=self._untold))
        self._untold, self._told_at = 0, now


class Refusals:
    """Tells by events what a caller sent and was refused, since nobody may wait for an answer.

    A flood of them is counted, so that the status still gets through.
    """

    def __init__(self, tell: Tell) -> None:
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
    """The first error of a task group; its end caused the others."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def described(where: str, error: BaseException) -> str:
    """What the caller is told: a `JobError` in full, of any other error only the type."""
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


class Silence:
    """Notices a hook that is called again and again, and gives neither a frame nor an error.

    Most often that is a forgotten `return`. A class that emits records or events may mean it so:
    `emits` says whether it has emitted any.
    """

    def __init__(self, status: StreamStatus, tell: Tell, emits: Callable[[], bool]) -> None:
        self._status = status
        self._tell = tell
        self._emits = emits
        self._calls: Counter[str] = Counter()
        self._told: set[str] = set()

    def gave(self, hook: str, frames: bool) -> None:
        """One call of `hook` returned, with frames or without."""
        if hook in self._told:
            return
        if frames:
            self._told.add(hook)  # it can: from now on it means what it does
            return
        self._calls[hook] += 1
        if self._calls[hook] < SILENT_CALLS or self._emits():
            return
        self._told.add(hook)
        message = (
            f"{hook} has given no frame in {SILENT_CALLS} calls, so nothing comes out: return the "
            "frame, or frame.replace(...)"
        )
        logger.warning("stream %s: %s", label(self._status.stream_id), message)
        self._status.warn(message)
        self._tell(
            {
                "type": "warning",
                "warning": {"type": "no_output", "message": message},
                "hook": hook,
                "timestamp": time.time(),
            }
        )
